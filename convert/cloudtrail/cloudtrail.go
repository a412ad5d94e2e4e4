// Package cloudtrail reads AWS CloudTrail records as events, and writes entries
// as CloudTrail records.
//
// CloudTrail logs the calls that an AWS account receives. The format is that of
// the AWS CloudTrail User Guide, "CloudTrail record contents". A log file is
// one object:
//
//	{"Records":[{"eventVersion":"1.08",
//	 "userIdentity":{"type":"IAMUser","arn":"arn:aws:iam::111122223333:user/alice",
//	  "accountId":"111122223333","userName":"alice"},
//	 "eventTime":"2026-01-02T03:04:05Z","eventSource":"ec2.amazonaws.com",
//	 "eventName":"TerminateInstances","awsRegion":"eu-west-1",
//	 "sourceIPAddress":"192.0.2.7","userAgent":"aws-cli/2",
//	 "requestParameters":{"instanceId":"i-0abc"},"responseElements":null,
//	 "requestID":"2f1c…","eventID":"9d07…","readOnly":false,
//	 "eventType":"AwsApiCall","recipientAccountId":"111122223333"}]}
//
// Read also takes several such files one after the other, bare records one a
// line or one after the other, and arrays of records.
//
// # Reading
//
// A record becomes an event as follows.
//
//	time                eventTime
//	tenant              recipientAccountId, or else userIdentity.accountId
//	service             "aws"
//	module              eventSource
//	action              eventSource up to its first dot, a dot, eventName: ec2.RunInstances
//	operation           from the first word of eventName, or else from readOnly
//	outcome             failure if there is an error or a failed sign-in, otherwise success
//	reason              errorCode and errorMessage
//	actor.id            userIdentity.arn, principalId, userName, invokedBy or accountId
//	actor.type          from userIdentity.type, invokedBy and eventType
//	actor.name          userIdentity.userName, or the session's name of an assumed role
//	actor.session       userIdentity.accessKeyId, where the credentials are temporary
//	actor.on_behalf_of  the arn of the role that was assumed, or userIdentity.onBehalfOf.userId
//	source              sourceIPAddress as ip, or as host if it is not an address; userAgent
//	targets             resources, or else names in requestParameters
//	request.id          requestID
//
// Everything else stays in the attributes under its own name. The record's
// exact bytes are the original.
//
// # Ids
//
// Ids are those of convert.IDs, without the source: CloudTrail gives every
// event an eventID, so an equal record in another file is the same event
// delivered again, while equal records in one file are kept. The eventID alone
// is not the id, because two different records with one eventID would exclude
// each other; attributes.eventID has it.
//
// # Writing
//
// Append writes an entry as a record with the category and type that CloudTrail
// gives to the events of programs outside AWS. additionalEventData has the rest
// of the entry. It is a view: the leaf is not in it, and it proves nothing.
package cloudtrail

import (
	"errors"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
	"github.com/attestlog/attestlog/internal/loosejson"
)

// Format starts the records' ids.
const Format = "cloudtrail"

// Service is every event's service.
const Service = "aws"

// Read is a convert.Reader of log files and of bare records.
func Read(r io.Reader, source string) iter.Seq2[attestlog.Event, error] {
	ids := convert.NewIDs(Format, "")
	return convert.Objects(r, source, "Records", func(raw []byte) iter.Seq2[attestlog.Event, error] {
		return convert.One(event(raw, ids))
	})
}

var errNotRecord = errors.New("not a CloudTrail record: no eventName, eventSource, eventTime or eventID")

// event maps one record. The event keeps raw.
func event(raw []byte, ids *convert.IDs) (attestlog.Event, error) {
	o, err := convert.DecodeObject(raw)
	if err != nil {
		return attestlog.Event{}, err
	}
	if !isRecord(o) {
		return attestlog.Event{}, errNotRecord
	}

	e := attestlog.Event{
		ID:       ids.Next(raw),
		Time:     when(o),
		Tenant:   tenant(o),
		Service:  Service,
		Original: raw,
	}

	// Several fields come from eventSource and eventName. The attributes lose
	// these two only when all of them have been read.
	e.Action = action(o)
	e.Operation = operation(o)
	e.Module = o.Take("eventSource")
	o.Take("eventName")

	e.Outcome, e.Reason = outcome(o)
	e.Actor = actor(o)
	e.Source = source(o)
	e.Targets = targets(o)
	e.Request.ID = o.Take("requestID")

	convert.Complete(&e, o)
	return e, nil
}

// isRecord reports whether o has one of the members that every record has.
func isRecord(o convert.Object) bool {
	for _, name := range [...]string{"eventName", "eventSource", "eventTime", "eventID"} {
		if o.Text(name) != "" {
			return true
		}
	}
	return false
}

func when(o convert.Object) time.Time {
	t, ok := convert.ParseTime(o.Text("eventTime"), time.RFC3339)
	if ok {
		o.Take("eventTime")
	}
	return t
}

func tenant(o convert.Object) string {
	if id := o.Take("recipientAccountId"); id != "" {
		return id
	}
	return o.Text(identity, "accountId")
}

// action returns the short name of the service, a dot and eventName.
func action(o convert.Object) string {
	name := o.Text("eventName")
	service, _, _ := strings.Cut(o.Text("eventSource"), ".")
	if service == "" || name == "" {
		return service + name
	}
	return service + "." + name
}

func outcome(o convert.Object) (outcome attestlog.Outcome, reason string) {
	code := o.Text("errorCode")
	message := o.Text("errorMessage")
	signIn := o.Text("responseElements", "ConsoleLogin")
	if code == "" && message == "" && signIn != "Failure" {
		return attestlog.Success, ""
	}

	// errorCode stays in the attributes, to be searched for.
	reason = code
	if message != "" {
		reason = strings.TrimPrefix(code+": "+message, ": ")
		o.Take("errorMessage")
	}
	return attestlog.Failure, reason
}

const identity = "userIdentity"

// actor maps userIdentity. The ARN and the names leave the attributes: they are
// in the actor, where they can be erased.
func actor(o convert.Object) attestlog.Actor {
	a := attestlog.Actor{Type: actorType(o)}
	arn := o.Text(identity, "arn")
	for _, name := range [...]string{"arn", "principalId", "userName", "invokedBy", "accountId"} {
		if a.ID == "" {
			a.ID = o.Take(identity, name)
		}
	}

	a.Name = o.Take(identity, "userName")
	if o.Text(identity, "type") == "AssumedRole" {
		// arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION
		parts := strings.Split(arn, "/")
		if a.Name == "" && len(parts) >= 3 {
			a.Name = parts[len(parts)-1]
		}
		a.OnBehalfOf = o.Take(identity, "sessionContext", "sessionIssuer", "arn")
	}
	if a.OnBehalfOf == "" {
		a.OnBehalfOf = o.Take(identity, "onBehalfOf", "userId")
	}

	if _, temporary := o.At(identity, "sessionContext"); temporary {
		a.Session = o.Take(identity, "accessKeyId")
	}
	return a
}

// actorType tells programs from people, as far as a record does.
func actorType(o convert.Object) string {
	invokedBy := o.Text(identity, "invokedBy")
	switch o.Text(identity, "type") {
	case "AWSService", "Role":
		return "service"
	case "AssumedRole":
		_, onInstance := o.At(identity, "sessionContext", "ec2RoleDelivery")
		issuer := o.Text(identity, "sessionContext", "sessionIssuer", "arn")
		if onInstance || invokedBy != "" || strings.Contains(issuer, ":role/aws-service-role/") {
			return "service"
		}
		return "user"
	case "Root", "IAMUser", "FederatedUser", "SAMLUser", "WebIdentityUser", "IdentityCenterUser", "Directory":
		return "user"
	}

	switch {
	case o.Text("eventType") == "AwsServiceEvent":
		return "system"
	case invokedBy != "":
		return "service"
	}
	return ""
}

// source maps sourceIPAddress, which is the name of a service if a service made
// the call.
func source(o convert.Object) attestlog.Source {
	s := convert.SourceOf(o.Take("sourceIPAddress"))
	s.UserAgent = o.Take("userAgent")
	return s
}

// parameters are the request parameters that say what was acted on if the
// record has no resources, with the CloudFormation type of what they name.
var parameters = []struct{ name, kind string }{
	{"bucketName", "AWS::S3::Bucket"},
	{"instanceId", "AWS::EC2::Instance"},
	{"volumeId", "AWS::EC2::Volume"},
	{"snapshotId", "AWS::EC2::Snapshot"},
	{"groupId", "AWS::EC2::SecurityGroup"},
	{"vpcId", "AWS::EC2::VPC"},
	{"subnetId", "AWS::EC2::Subnet"},
	{"dBInstanceIdentifier", "AWS::RDS::DBInstance"},
	{"functionName", "AWS::Lambda::Function"},
	{"secretId", "AWS::SecretsManager::Secret"},
	{"keyId", "AWS::KMS::Key"},
	{"roleArn", "AWS::IAM::Role"},
	{"roleName", "AWS::IAM::Role"},
	{"userName", "AWS::IAM::User"},
	{"policyArn", "AWS::IAM::ManagedPolicy"},
	{"instanceProfileName", "AWS::IAM::InstanceProfile"},
	{"logGroupName", "AWS::Logs::LogGroup"},
	{"trailName", "AWS::CloudTrail::Trail"},
}

func targets(o convert.Object) []attestlog.Target {
	if found, complete := resources(o); len(found) > 0 {
		if complete {
			delete(o, "resources")
		}
		return found
	}

	given := o.Object("requestParameters")
	var found []attestlog.Target
	for _, p := range parameters {
		if id := given.Text(p.name); id != "" {
			found = append(found, attestlog.Target{ID: id, Type: p.kind})
		}
	}
	return found
}

// resources returns the record's resources as targets, and whether the targets
// have everything that the resources have.
func resources(o convert.Object) (found []attestlog.Target, complete bool) {
	v, _ := o.At("resources")
	list, _ := v.([]any)
	_, repeated := o["resources"].(loosejson.Repeated)
	complete = !repeated // At has returned only the last list

	for _, v := range list {
		members, _ := v.(map[string]any)
		r := convert.Object(members)
		t := attestlog.Target{Type: r.Text("type")}
		for _, name := range [...]string{"ARN", "arn", "ARNPrefix"} {
			if t.ID == "" {
				t.ID = r.Text(name)
			}
		}

		// A resource with other members is not complete without them.
		used := 0
		for _, text := range [...]string{t.ID, t.Type} {
			if text != "" {
				used++
			}
		}
		if used != len(members) {
			complete = false
		}
		if used > 0 {
			found = append(found, t)
		}
	}
	return found, complete
}
