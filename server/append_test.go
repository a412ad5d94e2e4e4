package server_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestlog/attestlog/server"
)

type receipts struct {
	Receipts []receipt `json:"receipts"`
}

type receipt struct {
	Index      uint64    `json:"index"`
	ID         string    `json:"id"`
	LeafHash   string    `json:"leaf_hash"`
	LoggedTime time.Time `json:"logged_time"`
}

func TestAppendReturnsTheReceiptsOfWhatIsDurable(t *testing.T) {
	s := serve(t)
	token := s.token(server.ScopeAppend)
	const one, two = `{"action":"mail.view","actor":{"id":"alice"}}`, `{"action":"mail.send","actor":{"id":"bob"}}`
	for _, test := range []struct {
		name, body string
		headers    []string
		actions    []string
	}{
		{"one", one, []string{"Content-Type", "application/json"}, []string{"mail.view"}},
		{"without a content type", one, nil, []string{"mail.view"}},
		{"over several lines", "\r\n {\n\"action\":\"mail.view\",\n\"actor\":\n{\"id\":\"alice\"}}\n\n", nil, []string{"mail.view"}},
		{"a list", "[" + one + "," + two + "]", []string{"Content-Type", "application/json"}, []string{"mail.view", "mail.send"}},
		{"a list of one", "[" + one + "]", nil, []string{"mail.view"}},
		{"lines", one + "\n" + two + "\n", []string{"Content-Type", "application/x-ndjson"}, []string{"mail.view", "mail.send"}},
		{"lines without an end", one + "\r\n\n" + two, []string{"Content-Type", "application/x-ndjson"}, []string{"mail.view", "mail.send"}},
		{"gzip", zipped(one + "\n" + two), []string{"Content-Encoding", "gzip"}, []string{"mail.view", "mail.send"}},
		{"gzip in members", zipped(one) + zipped(two), []string{"Content-Encoding", "gzip"}, []string{"mail.view", "mail.send"}},
		{"identity", one, []string{"Content-Encoding", "identity"}, []string{"mail.view"}},
	} {
		before := s.size()
		var got receipts
		s.post(api+"/entries", token, test.body, test.headers...).into(t, http.StatusCreated, &got)
		if len(got.Receipts) != len(test.actions) {
			t.Fatalf("%s: %d receipts, want %d", test.name, len(got.Receipts), len(test.actions))
		}
		for i, r := range got.Receipts {
			e, err := s.log.Entry(t.Context(), r.Index)
			if err != nil {
				t.Fatal(err)
			}
			want := receipt{before + uint64(i), e.ID, base64.StdEncoding.EncodeToString(e.LeafHash[:]), e.LoggedTime}
			if diff := cmp.Diff(want, r); diff != "" || e.Action != test.actions[i] {
				t.Errorf("%s: receipt %d of %s (-want +got):\n%s", test.name, i, e.Action, diff)
			}
		}
	}
}

// What was not stored must not be answered as if it was.
func TestABodyIsStoredWholeOrNotAtAll(t *testing.T) {
	s := serve(t)
	token := s.token(server.ScopeAppend)
	const good = `{"action":"mail.view","actor":{"id":"alice"}}`
	for _, body := range []string{
		"", " \n", "null", "7", `"x"`, "{}", "[7]", "{", "[", good[:20], good + good[:20], "[" + good, "[" + good + ",]",
		good + "}" + good, good + "]" + good, good + "\n]\n" + good, good + "\n}\n", good + ",", good + "," + good, good + " x", "[" + good + "]" + good, "[" + good + "] x",
		good + "\n" + `{"action":"x","actor":{}}`, "[" + good + `,{"action":"x","actor":{"id":"a"},"surprise":1}]`,
		`{"action":"attestlog.restore","actor":{"id":"a"}}`, `{"action":"x","action":"y","actor":{"id":"a"}}`, `{"action":"` + "\xff" + `","actor":{"id":"a"}}`,
		`{"action":"x","actor":{"id":"a"},"attributes":{"n":1e17}}`, `{"action":"x","actor":{"id":"a"},"logged_time":"2026-01-01T00:00:00Z"}`,
		"\x00", "\xef\xbb\xbf" + "{}", "[" + good + "," + strings.Repeat("[", 100_000) + "]",
	} {
		if a := s.post(api+"/entries", token, body); a.StatusCode != http.StatusBadRequest && a.StatusCode != http.StatusUnprocessableEntity {
			t.Errorf("POST of %.80q = %d %s, want 400 or 422", body, a.StatusCode, a.body)
		}
	}
	if n := s.size(); n != 0 {
		t.Errorf("%d entries are stored, want none", n)
	}
}

func TestAnIdempotencyKeyMakesSendingAgainHarmless(t *testing.T) {
	s := serve(t)
	token := s.token(server.ScopeAppend)
	const (
		plain = `[{"action":"a","actor":{"id":"alice"}},{"action":"b","actor":{"id":"alice"}},{"action":"b","actor":{"id":"alice"}}]`
		timed = `[{"action":"a","actor":{"id":"alice"},"time":"2026-01-01T00:00:00Z"},{"action":"a","actor":{"id":"alice"},"time":"2026-01-01T00:00:00Z"}]`
		other = `[{"action":"a","actor":{"id":"alice"}},{"action":"c","actor":{"id":"alice"}},{"action":"b","actor":{"id":"alice"}}]`
		mixed = `[{"id":"019a9f0c-2f5e-7cc1-9c1e-5d6f3a1b2c3d","action":"a","actor":{"id":"alice"}},{"action":"a","actor":{"id":"alice"}}]`
	)
	for _, test := range []struct {
		name, key, body, second string
		first, again            int // statuses
	}{
		{"a UUIDv7", "019a9f0c-2f5e-7cc1-9c1e-000000000001", plain, plain, 201, 201},
		{"a UUIDv7 in capitals", "019A9F0C-2F5E-7CC1-9C1E-000000000002", plain, plain, 201, 201},
		{"a UUIDv7, other content", "019a9f0c-2f5e-7cc1-9c1e-000000000003", plain, other, 201, 409},
		{"a UUIDv7, fewer events", "019a9f0c-2f5e-7cc1-9c1e-000000000004", timed, timed[:len(timed)/2] + "]", 201, 201},
		{"a UUIDv7 beside ids", "019a9f0c-2f5e-7cc1-9c1e-000000000005", mixed, mixed, 201, 201},
		{"text", "order 7, line 1", timed, timed, 201, 201},
		{"text, other content", "order 8", timed, strings.ReplaceAll(timed, `"a"`, `"b"`), 201, 409},
		{"text without times", "order 9", plain, plain, 400, 400},
		{"a UUIDv4", "6ba7b810-9dad-41d1-80b4-00c04fd430c8", timed, timed, 201, 201},
		{"a UUIDv4 without times", "6ba7b810-9dad-41d1-80b4-00c04fd430c9", plain, plain, 400, 400},
		{"the longest", strings.Repeat("k", 128), timed, timed, 201, 201},
		{"longer", strings.Repeat("k", 129), timed, timed, 422, 422},
	} {
		before := s.size()
		first := s.post(api+"/entries", token, test.body, "Idempotency-Key", test.key)
		between := s.size()
		second := s.post(api+"/entries", token, test.second, "Idempotency-Key", test.key)
		if first.StatusCode != test.first || second.StatusCode != test.again {
			t.Errorf("%s: %d %s, then %d %s; want %d, then %d", test.name, first.StatusCode, first.body, second.StatusCode, second.body, test.first, test.again)
			continue
		}
		if after := s.size(); after != between {
			t.Errorf("%s: the second stored %d entries", test.name, after-between)
		}
		if test.first != 201 || test.again != 201 {
			continue
		}
		var a, b receipts
		first.into(t, 201, &a)
		second.into(t, 201, &b)
		if diff := cmp.Diff(a.Receipts[:len(b.Receipts)], b.Receipts); diff != "" {
			t.Errorf("%s: receipts of the second time (-want +got):\n%s", test.name, diff)
		}
		if n := between - before; n != uint64(len(a.Receipts)) {
			t.Errorf("%s: %d entries for %d receipts", test.name, n, len(a.Receipts))
		}
	}
}

func TestKeysOfOneBatchAndTheNextAreDifferent(t *testing.T) {
	s := serve(t)
	token := s.token(server.ScopeAppend)
	ids := map[string]bool{}
	n := 0
	for _, key := range []string{"a", "0 a", "1 a", "019a9f0c-2f5e-7cc1-9c1e-000000000001", "019a9f0c-2f5e-7cc1-9c1e-000000000002"} {
		var got receipts
		event, _ := json.Marshal(map[string]any{"action": "x", "actor": map[string]any{"id": key}, "time": "2026-01-01T00:00:00Z"})
		s.post(api+"/entries", token, strings.Repeat(string(event)+"\n", 5), "Idempotency-Key", key).into(t, 201, &got)
		for _, r := range got.Receipts {
			ids[r.ID] = true
			n++
		}
	}
	if n != 25 || len(ids) != n {
		t.Errorf("%d ids for %d receipts, want 25", len(ids), n)
	}
}
