package pattern

import "testing"

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"mail.view", "mail.view", true},
		{"mail.view", "mail.viewer", false},
		{"mail.*", "mail.view", true},
		{"mail.*", "mail.", true},
		{"mail.*", "mail", false},
		{"mail.*", "mailbox.open", false},
		{"*", "", true},
		{"*", "anything", true},
		{"", "", true},
		{"", "mail", false},
	} {
		if err := Check(c.pattern); err != nil {
			t.Errorf("Check(%q) = %v", c.pattern, err)
		}
		if got := Match(c.pattern, c.name); got != c.want {
			t.Errorf("Match(%q, %q) = %v, want %v", c.pattern, c.name, got, c.want)
		}
	}
}

func TestCheckRefuses(t *testing.T) {
	for _, p := range []string{"mail*", "*.view", "mail.*.view", "**", "a*b"} {
		if Check(p) == nil {
			t.Errorf("Check(%q) = nil, want an error", p)
		}
	}
}
