package interop

import (
	"slices"
	"time"

	"github.com/attestlog/attestlog"
)

// What the view may write of a CloudTrail record: the CloudTrail User Guide,
// "CloudTrail record contents" (event version 1.11) and "CloudTrail userIdentity
// element"; for events of programs outside AWS, "CloudTrail Lake integrations
// event schema". CloudTrail itself adds awsRegion and recipientAccountId.
var (
	cloudTrailFields = map[string]string{
		"additionalEventData": "object",
		"errorCode":           "text",
		"errorMessage":        "text",
		"eventCategory":       "text",
		"eventID":             "text",
		"eventName":           "text",
		"eventSource":         "text",
		"eventTime":           "time",
		"eventType":           "text",
		"eventVersion":        "text",
		"readOnly":            "boolean",
		"recipientAccountId":  "text",
		"requestID":           "text",
		"requestParameters":   "object or null",
		"resources":           "array",
		"responseElements":    "object or null",
		"sourceIPAddress":     "text",
		"userAgent":           "text",
		"userIdentity":        "object",
	}
	cloudTrailRequired      = []string{"eventVersion", "eventCategory", "eventType", "eventID", "eventTime", "eventSource", "eventName", "userIdentity"}
	cloudTrailResource      = map[string]string{"ARN": "text", "accountId": "text", "type": "text"}
	cloudTrailIdentity      = map[string]string{"type": "text", "principalId": "text", "userName": "text"}
	cloudTrailIdentityTypes = []string{
		"Root", "IAMUser", "AssumedRole", "Role", "FederatedUser", "Directory", "AWSAccount", "AWSService", "IdentityCenterUser", "SAMLUser", "WebIdentityUser", "Unknown",
	}
)

func checkCloudTrail(e *attestlog.Entry, text []byte) error {
	o, err := object(text)
	if err != nil {
		return err
	}
	f := &findings{}
	checkCloudTrailMembers(f, "", o, cloudTrailFields, cloudTrailRequired...)
	if o["eventVersion"] != "1.11" || o["eventCategory"] != "ActivityAuditLog" || o["eventType"] != "ActivityLog" {
		f.add("eventVersion %v, eventCategory %v, eventType %v", o["eventVersion"], o["eventCategory"], o["eventType"])
	}
	if at, _ := time.Parse(time.RFC3339, textOf(o["eventTime"])); at.Unix() != e.Time.Unix() {
		f.add("eventTime is %v, want %v", at, e.Time)
	}
	if o["eventID"] != e.ID || o["eventName"] != e.Action {
		f.add("eventID is %v, eventName %v", o["eventID"], o["eventName"])
	}
	failed := e.Outcome == attestlog.Failure
	if o["errorCode"] != nil != failed || o["errorMessage"] != nil != (failed && e.Reason != "") {
		f.add("errorCode %v, errorMessage %v of the outcome %q", o["errorCode"], o["errorMessage"], e.Outcome)
	}
	identity, _ := o["userIdentity"].(map[string]any)
	checkCloudTrailMembers(f, "userIdentity.", identity, cloudTrailIdentity, "type", "principalId")
	if !slices.Contains(cloudTrailIdentityTypes, textOf(identity["type"])) {
		f.add("userIdentity.type is %v", identity["type"])
	}
	resources, _ := o["resources"].([]any)
	for _, v := range resources {
		resource, _ := v.(map[string]any)
		checkCloudTrailMembers(f, "resources.", resource, cloudTrailResource, "ARN")
	}
	return f.err()
}

func checkCloudTrailMembers(f *findings, at string, o map[string]any, kinds map[string]string, required ...string) {
	for _, name := range required {
		if _, ok := o[name]; !ok {
			f.add("%s%s is required", at, name)
		}
	}
	for name, v := range o {
		text, isText := v.(string)
		_, isObject := v.(map[string]any)
		list, _ := v.([]any)
		_, isBool := v.(bool)
		ok := false
		switch kinds[name] {
		case "text":
			ok = isText && text != ""
		case "time":
			_, err := time.Parse("2006-01-02T15:04:05Z", text)
			ok = err == nil && len(text) == len("2006-01-02T15:04:05Z") // Parse takes fractions too
		case "boolean":
			ok = isBool
		case "object":
			ok = isObject
		case "object or null":
			ok = isObject || v == nil
		case "array":
			ok = len(list) > 0
		}
		if !ok {
			f.add("%s%s is %#v, want %q", at, name, v, kinds[name])
		}
	}
}
