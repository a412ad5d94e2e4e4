// Package cloudtrail reads AWS CloudTrail records as events. The format is
// that of the CloudTrail User Guide, "CloudTrail record contents".
//
// A log file is one object, {"Records":[…]}. Files one after the other, bare
// records one a line or simply one after the other, and arrays of records are
// read too.
//
// A record becomes an event as follows; what is not listed stays in the
// attributes under its own name, and the record's exact bytes are the
// original.
//
//	time            eventTime
//	tenant          recipientAccountId, or else userIdentity.accountId
//	service         "aws"
//	module          eventSource
//	action          eventSource up to its first dot, a dot, eventName: ec2.RunInstances
//	operation       from eventName's first word, or else from readOnly
//	outcome         failure where there is an errorCode, or else success
//	reason          errorCode and errorMessage
//	actor.id        userIdentity.arn, principalId, userName, invokedBy or accountId
//	actor.name      userIdentity.userName, or the session's name of an assumed role
//	actor.session   userIdentity.accessKeyId, where the credentials are temporary
//	actor.on_behalf_of  the arn of the role that was assumed
//	source          sourceIPAddress as ip, or host where it is none; userAgent
//	targets         resources, or else names in requestParameters
//	request.id      requestID
//
// Ids are those of convert.IDs, without the source: CloudTrail gives every
// event an eventID, so an equal record in another file is the same event
// delivered again, while equal records in one file are kept. An id is not the
// eventID alone, or two different records with one eventID would exclude each
// other; attributes.eventID has it.
package cloudtrail

import (
	"errors"
	"io"
	"iter"
	"net/netip"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
)

// Format starts the records' ids.
const Format = "cloudtrail"

// Service is every event's service.
const Service = "aws"

// Read is a convert.Reader.
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
	if o.Text("eventName") == "" && o.Text("eventSource") == "" && o.Text("eventTime") == "" && o.Text("eventID") == "" {
		return attestlog.Event{}, errNotRecord
	}
	source := o.Text("eventSource")
	e := attestlog.Event{
		ID:       ids.Next(raw),
		Tenant:   o.Take("recipientAccountId"),
		Service:  Service,
		Original: raw,
	}
	if e.Tenant == "" {
		e.Tenant = o.Text("userIdentity", "accountId")
	}
	e.Action = action(source, o.Text("eventName"))
	e.Operation = operation(o)
	e.Module = o.Take("eventSource")
	o.Take("eventName")
	outcome(&e, o)
	e.Actor = actor(o)
	e.Source = from(o)
	e.Targets = targets(o)
	e.Request.ID = o.Take("requestID")
	if at, ok := convert.ParseTime(o.Text("eventTime"), time.RFC3339); ok {
		e.Time = at
		o.Take("eventTime")
	}
	convert.Complete(&e, o)
	return e, nil
}

// action is eventName behind the service's short name.
func action(source, name string) string {
	service, _, _ := strings.Cut(source, ".")
	if service == "" || name == "" {
		return service + name
	}
	return service + "." + name
}

func outcome(e *attestlog.Event, o convert.Object) {
	code, message := o.Text("errorCode"), o.Text("errorMessage")
	signIn := o.Text("responseElements", "ConsoleLogin")
	if code == "" && message == "" && signIn != "Failure" {
		e.Outcome = attestlog.Success
		return
	}
	e.Outcome = attestlog.Failure
	e.Reason = code
	if message != "" {
		e.Reason = strings.TrimPrefix(code+": "+message, ": ")
		o.Take("errorMessage") // errorCode stays, to be searched for
	}
}

// from maps sourceIPAddress, which names a service where that made the call.
func from(o convert.Object) attestlog.Source {
	s := attestlog.Source{UserAgent: o.Take("userAgent")}
	address := o.Take("sourceIPAddress")
	if _, err := netip.ParseAddr(address); err == nil {
		s.IP = address
	} else {
		s.Host = address
	}
	return s
}
