package interop

// What the view may write of the Open Cybersecurity Schema Framework 1.8.0: the
// pages of schema.ocsf.io/1.8.0, classes authentication (3002) and api_activity
// (6003), and the objects that they name. An attribute that is not here fails.

const ocsfVersion = "1.8.0"

// An ocsfObject is a class or an object. Types are the schema's without _t, the
// names of objects, and [] before what an array holds.
type ocsfObject struct {
	attributes map[string]string
	required   []string
	atLeastOne []string
}

var ocsfClasses = map[string]ocsfObject{
	"3002": {
		attributes: map[string]string{
			"activity_id": "integer", "activity_name": "string", "actor": "actor", "category_uid": "integer", "class_uid": "integer", "duration": "long",
			"http_request": "http_request", "http_response": "http_response", "message": "string", "metadata": "metadata", "service": "service",
			"severity_id": "integer", "src_endpoint": "network_endpoint", "status": "string", "status_detail": "string", "status_id": "integer",
			"time": "timestamp", "type_uid": "long", "unmapped": "object", "user": "user",
		},
		required:   []string{"activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid", "user"},
		atLeastOne: []string{"service", "dst_endpoint"},
	},
	"6003": {
		attributes: map[string]string{
			"activity_id": "integer", "activity_name": "string", "actor": "actor", "api": "api", "category_uid": "integer", "class_uid": "integer", "duration": "long",
			"http_request": "http_request", "http_response": "http_response", "message": "string", "metadata": "metadata", "resources": "[]resource_details",
			"severity_id": "integer", "src_endpoint": "network_endpoint", "status": "string", "status_detail": "string", "status_id": "integer",
			"time": "timestamp", "type_uid": "long", "unmapped": "object",
		},
		required: []string{"activity_id", "actor", "api", "category_uid", "class_uid", "metadata", "severity_id", "src_endpoint", "time", "type_uid"},
	},
}

var ocsfObjects = map[string]ocsfObject{
	"actor": {
		attributes: map[string]string{"session": "session", "user": "user"},
		atLeastOne: []string{"session", "user"},
	},
	"api": {
		attributes: map[string]string{"operation": "string", "request": "request", "service": "service"},
		required:   []string{"operation"},
	},
	"http_request": {
		attributes: map[string]string{"http_method": "string", "url": "url", "user_agent": "string"},
	},
	"http_response": {
		attributes: map[string]string{"code": "integer", "status": "string"},
		required:   []string{"code"},
	},
	"metadata": {
		attributes: map[string]string{
			"correlation_uid": "string", "event_code": "string", "log_name": "string", "logged_time": "timestamp", "product": "product",
			"sequence": "integer", "tenant_uid": "string", "uid": "string", "version": "string",
		},
		required: []string{"product", "version"},
	},
	"network_endpoint": {
		attributes: map[string]string{"hostname": "hostname", "ip": "ip", "name": "string"},
		atLeastOne: []string{"hostname", "ip", "name"},
	},
	"product": {
		attributes: map[string]string{"name": "string"},
		atLeastOne: []string{"name", "uid"},
	},
	"request": {
		attributes: map[string]string{"uid": "string"},
		required:   []string{"uid"},
	},
	"resource_details": {
		attributes: map[string]string{"name": "string", "type": "string", "uid": "string"},
		atLeastOne: []string{"name", "uid"},
	},
	"service": {
		attributes: map[string]string{"name": "string"},
		atLeastOne: []string{"name", "uid"},
	},
	"session": {
		attributes: map[string]string{"uid": "string"},
	},
	"url": {
		attributes: map[string]string{"path": "string"},
		atLeastOne: []string{"url_string", "path"},
	},
	"user": {
		attributes: map[string]string{"name": "username", "type": "string", "type_id": "integer", "uid": "string"},
		atLeastOne: []string{"account", "name", "uid"},
	},
}

// An ocsfEnum is of the values that are used, with their captions. The sibling
// says the same in words, or what Other is.
type ocsfEnum struct {
	sibling string
	values  map[string]string
}

var ocsfEnums = map[string]ocsfEnum{
	"3002.activity_id":  {"activity_name", map[string]string{"1": "Logon", "2": "Logoff"}},
	"3002.category_uid": {"category_name", map[string]string{"3": "Identity & Access Management"}},
	"3002.class_uid":    {"class_name", map[string]string{"3002": "Authentication"}},
	"3002.severity_id":  {"severity", map[string]string{"1": "Informational"}},
	"3002.status_id":    {"status", map[string]string{"0": "Unknown", "1": "Success", "2": "Failure"}},

	"6003.activity_id":  {"activity_name", map[string]string{"1": "Create", "2": "Read", "3": "Update", "4": "Delete", "99": "Other"}},
	"6003.category_uid": {"category_name", map[string]string{"6": "Application Activity"}},
	"6003.class_uid":    {"class_name", map[string]string{"6003": "API Activity"}},
	"6003.severity_id":  {"severity", map[string]string{"1": "Informational"}},
	"6003.status_id":    {"status", map[string]string{"0": "Unknown", "1": "Success", "2": "Failure"}},

	"user.type_id": {"type", map[string]string{"0": "Unknown", "1": "User", "3": "System", "4": "Service", "99": "Other"}},
	"http_request.http_method": {"", map[string]string{
		"CONNECT": "Connect", "DELETE": "Delete", "GET": "Get", "HEAD": "Head", "OPTIONS": "Options", "PATCH": "Patch", "POST": "Post", "PUT": "Put", "TRACE": "Trace",
	}},
}
