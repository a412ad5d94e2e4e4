package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// version returns what --version prints.
func version() string { return describeBuild(buildInfo()) }

// buildInfo returns what Go has stored in the program about its build.
func buildInfo() *debug.BuildInfo {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{GoVersion: runtime.Version()}
	}
	return info
}

// describeBuild describes a build in one line, such as
//
//	attestlog v1.2.3 (commit 97ece0548fda, modified, go1.26.8 linux/amd64)
//
// A build without a version control system, or with -buildvcs=false, has no
// commit.
func describeBuild(info *debug.BuildInfo) string {
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}

	var details []string
	if revision := settings["vcs.revision"]; revision != "" {
		details = append(details, "commit "+revision[:min(12, len(revision))])
	}
	if settings["vcs.modified"] == "true" {
		details = append(details, "modified")
	}
	details = append(details, fmt.Sprintf("%s %s/%s", info.GoVersion, runtime.GOOS, runtime.GOARCH))

	version := cmp.Or(info.Main.Version, "(devel)")
	return fmt.Sprintf("attestlog %s (%s)", version, strings.Join(details, ", "))
}
