package storetest

import (
	"fmt"
	"time"

	"pgregory.net/rapid"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/query"
)

// What the random logs are made of. Values overlap, so that queries match some
// entries and not others.
var (
	someTenants   = []string{"", "acme", "umbrella"}
	someActors    = []string{"alice", "alice2", "Alice", "bob smith", `quo"te\`, "жук"}
	someActions   = []string{"mail.view", "mail.view.raw", "mail", "mailbox.view", "users.create", "a:b:c", "OR", "star*"}
	someServices  = []string{"", "web.mail", "web.mail.v2", "cron"}
	someTypes     = []string{"mail", "user", ""}
	someIDs       = []string{"1", "2", "a/b", "10"}
	someAddresses = []string{
		"", "10.1.2.3", "10.1.2.4", "10.200.0.1", "192.0.2.7", "11.0.0.1",
		"2001:db8::1", "2001:db8:1::1", "fe80::1%eth0", "::ffff:10.1.2.3",
	}
	someNetworks = []string{
		"10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32", "10.0.0.0/6", "10.128.0.0/9", "0.0.0.0/0", "10.1.2.0/30", "12.0.0.0/8",
		"2001:db8::/32", "2001:db8::/33", "2001:db8::/48", "2000::/3", "::/0", "fe80::1/128", "::ffff:0:0/96",
	}
	someTexts   = []string{"", "the quick brown fox", "Brown FOX", "fox quick", "naïve Straße", "x-y.z 42", "don't"}
	somePhrases = []string{"quick brown", "fox", "brown fox", "FOX", "straße", "x y z", "42", "t", "missing", "quick fox"}
	someScalars = []any{"inbox", "Inbox", "", 1, 1.5, -7, true, false, nil, "1", "the fox"}
	someSeals   = [][]string{{}, nil, {"/actor/id", "/source/ip", "/message", "/attributes/folder", "/source/host", "/reason"}}
	exactFields = []string{
		"tenant", "actor", "actor.name", "action", "service", "target", "target.id", "target.type", "ip", "host", "outcome", "reason", "message",
		"attributes.folder", "attributes.nested.a.b", "attributes.n", "request.status", "id", "change",
	}
	prefixedFields = []string{"action", "service", "tenant", "target", "target.type", "attributes.n", "id"}
	somePrefixes   = []string{"mail.", "mail", "web.mail.", "web.", "a", "id-1", "in", "mail/", "", "star*"}
)

func drawTime(t *rapid.T, label string) time.Time {
	return testlog.Began.Add(time.Duration(rapid.IntRange(0, 40).Draw(t, label)) * time.Second)
}

func drawEvents(t *rapid.T) []attestlog.Event {
	pick := func(from []string, label string) string { return rapid.SampledFrom(from).Draw(t, label) }

	out := make([]attestlog.Event, rapid.IntRange(1, 60).Draw(t, "entries"))
	for i := range out {
		e := attestlog.Event{
			ID: fmt.Sprint("id-", i), Time: drawTime(t, "time"), Tenant: pick(someTenants, "tenant"),
			Service: pick(someServices, "service"), Action: pick(someActions, "action"),
			Outcome: attestlog.Outcome(pick([]string{"", "success", "failure"}, "outcome")),
			Actor:   attestlog.Actor{ID: pick(someActors, "actor"), Name: pick(someTexts, "name")},
			Source:  attestlog.Source{IP: pick(someAddresses, "ip"), Host: pick([]string{"", "h1"}, "host")},
			Message: pick(someTexts, "message"), Reason: pick(someTexts, "reason"),
			Request: attestlog.Request{Status: rapid.SampledFrom([]int{0, 200, 404}).Draw(t, "status")},
		}

		if i%5 == 0 {
			e.ID = testlog.Event(i).ID
		}

		for range rapid.IntRange(0, 2).Draw(t, "targets") {
			e.Targets = append(e.Targets, attestlog.Target{
				Type: pick(someTypes, "type"), ID: pick(someIDs, "target"), Name: pick(someTexts, "target name"),
			})
		}

		if rapid.Bool().Draw(t, "attributes") {
			scalar := rapid.SampledFrom(someScalars)
			e.Attributes = map[string]any{
				"folder": scalar.Draw(t, "folder"),
				"n":      []any{scalar.Draw(t, "n"), scalar.Draw(t, "n2")},
				"nested": map[string]any{"a": map[string]any{"b": scalar.Draw(t, "b")}, "a.b": scalar.Draw(t, "dotted")},
			}
		}

		if rapid.Bool().Draw(t, "changes") {
			e.Changes = []attestlog.Change{{Path: "/folder", New: "x"}}
		}
		out[i] = e
	}
	return out
}

func drawQuery(t *rapid.T, depth int) query.Query {
	kinds := 6
	if depth > 0 {
		kinds = 9
	}

	switch rapid.IntRange(0, kinds).Draw(t, "kind") {
	case 0, 1:
		field := rapid.SampledFrom(exactFields).Draw(t, "field")
		return query.Field(field, drawValue(t, field))
	case 2:
		field := rapid.SampledFrom(prefixedFields).Draw(t, "field")
		return query.Prefix(field, rapid.SampledFrom(somePrefixes).Draw(t, "prefix"))
	case 3:
		return query.Network(rapid.SampledFrom(someNetworks).Draw(t, "network"))
	case 4:
		from := rapid.Uint64Range(0, 40).Draw(t, "from")
		return query.Indexes(from, from+rapid.Uint64Range(1, 40).Draw(t, "count"))
	case 5:
		after, before := drawTime(t, "after"), drawTime(t, "before")
		switch rapid.IntRange(0, 2).Draw(t, "ends") {
		case 0:
			after = time.Time{}
		case 1:
			before = time.Time{}
		}
		return query.Between(after, before)
	case 6:
		return query.Text(rapid.SampledFrom(somePhrases).Draw(t, "phrase"))
	case 7:
		return query.Not(drawQuery(t, depth-1))
	}

	kids := make([]query.Query, rapid.IntRange(1, 4).Draw(t, "kids"))
	for i := range kids {
		kids[i] = drawQuery(t, depth-1)
	}

	if rapid.Bool().Draw(t, "or") {
		return query.Or(kids...)
	}
	return query.And(kids...)
}

func drawValue(t *rapid.T, field string) string {
	values := map[string][]string{
		"tenant": someTenants[1:], "actor": someActors, "action": someActions, "service": someServices[1:],
		"target": {"mail/1", "user/a/b", "mail/10"}, "target.id": someIDs, "target.type": someTypes[:2],
		"ip": someAddresses[1:], "outcome": {"success", "failure", "unknown"}, "host": {"h1", "h2"},
		"message": someTexts[1:], "reason": someTexts[1:], "actor.name": someTexts[1:],
		"request.status": {"200", "404", "0"}, "change": {"/folder", "/x"},
		"id": {"id-1", "id-2", testlog.Event(0).ID, testlog.Event(5).ID, testlog.Event(99).ID},
	}[field]

	if values == nil {
		values = []string{"inbox", "Inbox", "1", "1.5", "-7", "true", "null", "the fox"}
	}

	return rapid.SampledFrom(values).Draw(t, field)
}
