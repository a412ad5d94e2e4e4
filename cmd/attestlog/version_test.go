package main

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestDescribeBuild(t *testing.T) {
	platform := runtime.GOOS + "/" + runtime.GOARCH
	for _, c := range []struct {
		name string
		info debug.BuildInfo
		want string
	}{
		{
			"a release", debug.BuildInfo{
				GoVersion: "go1.26.8",
				Main:      debug.Module{Version: "v1.2.3"},
			},
			"attestlog v1.2.3 (go1.26.8 " + platform + ")",
		},
		{
			"a work tree with changes", debug.BuildInfo{
				GoVersion: "go1.26.8",
				Main:      debug.Module{Version: "v0.0.0-20261201000000-97ece0548fda+dirty"},
				Settings: []debug.BuildSetting{
					{Key: "vcs.revision", Value: "97ece0548fda00112233445566778899aabbccdd"},
					{Key: "vcs.modified", Value: "true"},
				},
			},
			"attestlog v0.0.0-20261201000000-97ece0548fda+dirty (commit 97ece0548fda, modified, go1.26.8 " + platform + ")",
		},
		{
			"no version control", debug.BuildInfo{
				GoVersion: "go1.26.8",
				Main:      debug.Module{Version: "(devel)"},
				Settings:  []debug.BuildSetting{{Key: "vcs.modified", Value: "false"}},
			},
			"attestlog (devel) (go1.26.8 " + platform + ")",
		},
	} {
		if got := describeBuild(&c.info); got != c.want {
			t.Errorf("describeBuild of %s = %q, want %q", c.name, got, c.want)
		}
	}
}
