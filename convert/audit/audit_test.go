package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
	"github.com/attestlog/attestlog/convert/audit"
	"github.com/attestlog/attestlog/internal/pgtest"
)

var cluster *pgtest.Cluster

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if cluster, err = pgtest.Start("fsync=off"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer cluster.Remove()
		return m.Run()
	}())
}

const schema = `CREATE TABLE audit_log (id BIGSERIAL PRIMARY KEY, timestamp TIMESTAMPTZ, event_type VARCHAR(50), username VARCHAR(255), ip_address VARCHAR(45),
	query TEXT, mail_id VARCHAR(255), success BOOLEAN, detail TEXT)`

// stored is the event as it is read back from a log: through its leaf.
func stored(t require, e attestlog.Event) attestlog.Event {
	text, err := e.MarshalJSON()
	if err != nil {
		t.Fatalf("%+v: %v", e, err)
	}
	back, err := attestlog.ParseEvent(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return back
}

type require interface{ Fatalf(string, ...any) }

func TestALineBecomesAnEvent(t *testing.T) {
	line := `{"timestamp":"2026-03-01T10:00:00.5Z","event_type":"mail_view","username":"alice","ip_address":"192.0.2.7","mail_id":"7","success":false,"detail":"denied"}`
	for e, err := range audit.Read(strings.NewReader(line), "audit.jsonl") {
		if err != nil {
			t.Fatal(err)
		}
		id := e.ID
		e.ID = ""
		want := attestlog.Event{
			Action: "mail_view", Outcome: attestlog.Failure, Actor: attestlog.Actor{ID: "alice"}, Source: attestlog.Source{IP: "192.0.2.7"}, Message: "denied",
			Targets: []attestlog.Target{{Type: "mail", ID: "7"}}, Time: time.Date(2026, 3, 1, 10, 0, 0, 500_000_000, time.UTC),
			Attributes: map[string]any{"audit": map[string]any{"null": []any{"query"}}},
		}
		if diff := cmp.Diff(want, e); diff != "" || !strings.HasPrefix(id, "audit:") {
			t.Errorf("id %s, event (-want +got):\n%s", id, diff)
		}
	}
}

func TestLinesComeOutIdentical(t *testing.T) {
	text := rapid.OneOf(rapid.StringMatching(`[a-z0-9.:/ ]{0,20}`), rapid.String(), rapid.Just("2001:DB8::1"), rapid.Just("::ffff:192.0.2.1"), rapid.Just("attestlog.erase"), rapid.Just("<&>"))
	rapid.Check(t, func(t *rapid.T) {
		var line []byte
		if rapid.Bool().Draw(t, "odd") {
			line = []byte(rapid.SampledFrom([]string{
				`{}`, `{"event_type":null}`, `{"timestamp":"2026-03-01T10:00:00+02:00","event_type":"x","extra":[1,2]}`, `{ "event_type" : "x" }`,
				`{"EVENT_TYPE":"x","event_type":"y"}`, `{"timestamp":"0001-01-01T00:00:00Z"}`, `{"timestamp":"9999-12-31T23:59:59.999999999Z","success":true}`, `{"id":7,"event_type":"x"}`,
			}).Draw(t, "line"))
		} else {
			at := time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns")).UTC()
			s := func(name string) *string { v := text.Draw(t, name); return &v }
			success := rapid.Bool().Draw(t, "success")
			r := audit.Record{Timestamp: &at, EventType: s("type"), Username: s("user"), IPAddress: s("ip"), Query: s("query"), MailID: s("mail"), Success: &success, Detail: s("detail")}
			line = r.Line()
		}
		for e, err := range audit.Read(bytes.NewReader(line), "f") {
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			got, err := audit.LineOf(stored(t, e))
			if err != nil || !bytes.Equal(got, line) {
				t.Fatalf("%s came out as %s, %v", line, got, err)
			}
		}
	})
}

func TestATornLineIsRefused(t *testing.T) {
	text := `{"timestamp":"2026-03-01T10:00:00Z","event_type":"a"}` + "\n\n" + `{"timestamp":"2026-03-01T10:0` + "\n" + `{"event_type":"b"} x` + "\n" + `{"event_type":7}` + "\n" + `{"event_type":"c"}`
	var got []string
	for e, err := range audit.Read(strings.NewReader(text), "f") {
		var refused *convert.RecordError
		switch {
		case errors.As(err, &refused):
			got = append(got, fmt.Sprint("line ", refused.Line))
		case err != nil:
			t.Fatal(err)
		default:
			got = append(got, e.Action)
		}
	}
	if fmt.Sprint(got) != "[a line 3 line 4 line 5 c]" {
		t.Errorf("read %v", got)
	}
}

func TestRowsComeOutIdentical(t *testing.T) {
	conn, err := pgx.Connect(t.Context(), cluster.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := audit.Open(t.Context(), cluster.DSN("postgres")); !errors.Is(err, audit.ErrNoTable) {
		t.Errorf("Open without the table = %v, want ErrNoTable", err)
	}
	_, err = conn.Exec(t.Context(), schema+`;
		INSERT INTO audit_log (timestamp, event_type, username, ip_address, query, mail_id, success, detail) VALUES
			('2026-03-01 10:00:00.123456+01', 'login', 'alice', '192.0.2.7', '', '', true, ''),
			('2026-03-01 10:00:00.123456+01', 'login', 'alice', '192.0.2.7', '', '', true, ''),
			('2026-03-01', 'search', 'bob', '2001:DB8::1', 'subject:x', NULL, false, NULL),
			(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
			('infinity', 'mail:ocr_download', '', 'not an address', NULL, '7', true, E'two\nlines'),
			('-infinity', 'attestlog.erase', 'x', '', NULL, 'a/b', NULL, ''),
			('4713-01-01 BC', 'unknown.action', 'unknown.actor', '::ffff:1.2.3.4', '', '', false, 'x'),
			('200000-01-01', ' ', 'x', '1.2.3.4', repeat('q', 100000), '', false, repeat('ü', 100000))`, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatal(err)
	}
	rows := func() map[int64]string {
		out := map[int64]string{}
		r, err := conn.Query(t.Context(), "SELECT id, (timestamp, event_type, username, ip_address, query, mail_id, success, detail)::text FROM audit_log")
		if err != nil {
			t.Fatal(err)
		}
		var id int64
		var text string
		if _, err := pgx.ForEachRow(r, []any{&id, &text}, func() error { out[id] = text; return nil }); err != nil {
			t.Fatal(err)
		}
		return out
	}
	before := rows()
	table, err := audit.Open(t.Context(), cluster.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	var records []audit.Record
	for e, err := range table.Events(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		ids[e.ID] = true
		r, err := audit.RecordOf(stored(t, e))
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, r)
	}
	if err := table.Close(); err != nil || len(ids) != len(before) || table.Rows != int64(len(before)) {
		t.Errorf("%d events with ids of their own of %d rows, %v", len(ids), len(before), err)
	}
	if _, err := conn.Exec(t.Context(), "DELETE FROM audit_log"); err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		at := any(r.Timestamp)
		if r.Far != "" {
			at = r.Far
		}
		sql := "INSERT INTO audit_log VALUES ($1, $2::timestamptz, $3, $4, $5, $6, $7, $8, $9)"
		if strings.Trim(r.Far, "-0123456789") == "" && r.Far != "" { // exact, unlike to_timestamp
			sql = strings.Replace(sql, "$2::timestamptz", "'2000-01-01 00:00:00+00'::timestamptz + ($2::text || ' microseconds')::interval - interval '946684800 seconds'", 1)
		}
		if _, err := conn.Exec(t.Context(), sql, r.ID, at, r.EventType, r.Username, r.IPAddress, r.Query, r.MailID, r.Success, r.Detail); err != nil {
			t.Fatalf("%+v: %v", r, err)
		}
	}
	if diff := cmp.Diff(before, rows()); diff != "" {
		t.Errorf("rows (-in +out):\n%.2000s", diff)
	}
}

// A time that RFC 3339 cannot write, and that may be beyond an int64 of microseconds,
// comes back.
func TestFarTimesComeBack(t *testing.T) {
	for _, want := range []time.Time{
		time.Date(-300_000, 1, 2, 3, 4, 5, 678_901_000, time.UTC),
		time.Date(0, 12, 31, 23, 59, 59, 999_999_000, time.UTC),
		time.Date(10_000, 1, 1, 0, 0, 0, 1_000, time.UTC),
		time.Date(294_276, 12, 31, 23, 59, 59, 999_999_000, time.UTC),
		time.Date(9_000_000, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		login := "login"
		r := audit.Record{EventType: &login, Username: &login}
		r.SetTime(want)
		back, err := audit.RecordOf(stored(t, r.Event()))
		got, ok := back.Time()
		if err != nil || !ok || !got.Equal(want) {
			t.Errorf("%v came back as %v, %t, %v", want, got, ok, err)
		}
	}
}
