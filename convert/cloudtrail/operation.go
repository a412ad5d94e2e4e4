package cloudtrail

import (
	"strings"

	"github.com/attestlog/attestlog/convert"
)

// names map whole event names to operations. They come before verbs.
var names = map[string]string{
	"ConsoleLogin":       "login",
	"GetSigninToken":     "login",
	"GetSessionToken":    "login",
	"GetFederationToken": "login",
	"ConsoleLogout":      "logout",
	"SendCommand":        "execute",
	"GetSecretValue":     "read",
}

// verbs map the first words of event names to operations.
var verbs = map[string]string{
	"Assume": "login", "Login": "login", "Signin": "login",
	"Logout": "logout", "Signout": "logout",

	"Describe": "read", "Get": "read", "List": "read", "Head": "read", "Lookup": "read", "Search": "read",
	"Query": "read", "Scan": "read", "Select": "read", "View": "read", "Check": "read", "Discover": "read",
	"Filter": "read", "Preview": "read", "Download": "read", "Simulate": "read",

	"Create": "create", "Run": "create", "Allocate": "create", "Copy": "create", "Register": "create",
	"Request": "create", "Issue": "create", "Generate": "create", "Purchase": "create", "Clone": "create",
	"Upload": "create", "Publish": "create",

	"Put": "update", "Update": "update", "Modify": "update", "Attach": "update", "Detach": "update",
	"Set": "update", "Add": "update", "Remove": "update", "Associate": "update", "Disassociate": "update",
	"Enable": "update", "Disable": "update", "Change": "update", "Reset": "update", "Replace": "update",
	"Tag": "update", "Untag": "update", "Start": "update", "Stop": "update", "Reboot": "update",
	"Authorize": "update", "Revoke": "update", "Assign": "update", "Unassign": "update", "Rotate": "update",
	"Restore": "update", "Move": "update", "Rename": "update", "Promote": "update", "Activate": "update",
	"Deactivate": "update", "Suspend": "update", "Resume": "update", "Merge": "update", "Grant": "update",

	"Delete": "delete", "Terminate": "delete", "Deregister": "delete", "Release": "delete", "Purge": "delete",
	"Leave": "delete", "Retire": "delete",

	"Export": "export", "Import": "import",
	"Invoke": "execute", "Execute": "execute", "Decrypt": "execute", "Encrypt": "execute", "Sign": "execute",
	"Verify": "execute", "Send": "execute",
	"Accept": "approve", "Approve": "approve", "Reject": "deny", "Deny": "deny",
}

// operation returns what the first word of eventName means. "Batch" before it
// means nothing.
func operation(o convert.Object) string {
	name := o.Text("eventName")
	if op, ok := names[name]; ok {
		return op
	}

	verb := firstWord(name)
	if verb == "Batch" {
		verb = firstWord(name[len(verb):])
	}
	if op, ok := verbs[verb]; ok {
		return op
	}

	if readOnly, _ := o.At("readOnly"); readOnly == true {
		return "read"
	}
	return ""
}

// firstWord returns name up to its second capital letter, or to what is not a
// letter.
func firstWord(name string) string {
	if name == "" {
		return ""
	}
	notLower := func(r rune) bool { return r < 'a' || r > 'z' }
	if i := strings.IndexFunc(name[1:], notLower); i >= 0 {
		return name[:i+1]
	}
	return name
}
