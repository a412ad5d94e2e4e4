package interop

// What the view may write of the Elastic Common Schema 9.0.0: the ECS reference,
// elastic.co/docs/reference/ecs/ecs-field-reference. A field that is not here
// fails, but for those under attestlog.

const ecsVersion = "9.0.0"

// ecsFields have the reference's types, with [] where it says that the field
// "should contain an array of values".
var ecsFields = map[string]string{
	"@timestamp":                "date",
	"ecs.version":               "keyword",
	"event.action":              "keyword",
	"event.category":            "keyword[]",
	"event.created":             "date",
	"event.duration":            "long",
	"event.id":                  "keyword",
	"event.kind":                "keyword",
	"event.module":              "keyword",
	"event.outcome":             "keyword",
	"event.provider":            "keyword",
	"event.reason":              "keyword",
	"event.sequence":            "long",
	"event.type":                "keyword[]",
	"http.request.id":           "keyword",
	"http.request.method":       "keyword",
	"http.response.status_code": "long",
	"message":                   "match_only_text",
	"organization.id":           "keyword",
	"related.ip":                "ip[]",
	"related.user":              "keyword[]",
	"service.name":              "keyword",
	"source.address":            "keyword",
	"source.domain":             "keyword",
	"source.ip":                 "ip",
	"span.id":                   "keyword",
	"trace.id":                  "keyword",
	"url.path":                  "wildcard",
	"user.id":                   "keyword",
	"user.name":                 "keyword",
	"user_agent.original":       "keyword",
}

// ecsRequired are the fields that every document has: the ECS guidelines.
var ecsRequired = []string{"@timestamp", "ecs.version"}

// The categorization fields' allowed values, those that are used.
var (
	ecsKinds    = []string{"event"}
	ecsOutcomes = []string{"success", "failure", "unknown"}
	// ecsCategories have, of their expected event.type, those that are used.
	ecsCategories = map[string][]string{
		"api":            {"allowed", "change", "creation", "deletion", "denied"},
		"authentication": {"start", "end"},
		"configuration":  {"access", "change", "creation", "deletion", "info"},
		"session":        {"start", "end"},
		"web":            {"access", "info"},
	}
)
