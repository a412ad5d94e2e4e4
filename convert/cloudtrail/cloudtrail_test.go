package cloudtrail_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
	"github.com/attestlog/attestlog/convert/cloudtrail"
	"github.com/attestlog/attestlog/fit"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var _ convert.Reader = cloudtrail.Read

const role = `{"eventVersion":"1.08","userIdentity":{"type":"AssumedRole","principalId":"AROAEXAMPLE:build","arn":"arn:aws:sts::111122223333:assumed-role/Deploy/build","accountId":"111122223333","accessKeyId":"ASIAEXAMPLE","sessionContext":{"sessionIssuer":{"type":"Role","arn":"arn:aws:iam::111122223333:role/Deploy"},"attributes":{"mfaAuthenticated":"false"}}},"eventTime":"2026-01-02T03:04:05Z","eventSource":"s3.amazonaws.com","eventName":"PutBucketPolicy","awsRegion":"eu-west-1","sourceIPAddress":"192.0.2.7","userAgent":"aws-cli/2","errorCode":"AccessDenied","errorMessage":"no","requestParameters":{"bucketName":"b"},"responseElements":null,"requestID":"R1","eventID":"E1","readOnly":false,"resources":[{"type":"AWS::S3::Bucket","ARN":"arn:aws:s3:::b"}],"eventType":"AwsApiCall","recipientAccountId":"444455556666"}`

const byService = `{"userIdentity":{"type":"AWSService","invokedBy":"ec2.amazonaws.com"},"eventTime":"2026-01-02T03:04:06Z","eventSource":"sts.amazonaws.com","eventName":"AssumeRole","sourceIPAddress":"ec2.amazonaws.com","requestParameters":{"roleArn":"arn:aws:iam::111122223333:role/Node"},"eventID":"E2"}`

func TestReadMapsFields(t *testing.T) {
	tests := []struct {
		name, in string
		want     attestlog.Event
	}{
		{"assumed role", role, attestlog.Event{
			Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Tenant: "444455556666", Service: "aws", Module: "s3.amazonaws.com",
			Action: "s3.PutBucketPolicy", Operation: "update", Outcome: attestlog.Failure, Reason: "AccessDenied: no",
			Actor: attestlog.Actor{
				ID: "arn:aws:sts::111122223333:assumed-role/Deploy/build", Type: "user", Name: "build", Session: "ASIAEXAMPLE",
				OnBehalfOf: "arn:aws:iam::111122223333:role/Deploy",
			},
			Source:  attestlog.Source{IP: "192.0.2.7", UserAgent: "aws-cli/2"},
			Targets: []attestlog.Target{{ID: "arn:aws:s3:::b", Type: "AWS::S3::Bucket"}},
			Request: attestlog.Request{ID: "R1"},
			Attributes: map[string]any{
				"eventVersion": "1.08", "awsRegion": "eu-west-1", "errorCode": "AccessDenied", "eventID": "E1", "readOnly": false,
				"eventType": "AwsApiCall", "requestParameters": map[string]any{"bucketName": "b"}, "responseElements": nil,
				"userIdentity": map[string]any{
					"type": "AssumedRole", "principalId": "AROAEXAMPLE:build", "accountId": "111122223333",
					"sessionContext": map[string]any{
						"sessionIssuer": map[string]any{"type": "Role"}, "attributes": map[string]any{"mfaAuthenticated": "false"},
					},
				},
			},
		}},
		{"service", byService, attestlog.Event{
			Time: time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC), Service: "aws", Module: "sts.amazonaws.com",
			Action: "sts.AssumeRole", Operation: "login", Outcome: attestlog.Success,
			Actor:   attestlog.Actor{ID: "ec2.amazonaws.com", Type: "service"},
			Source:  attestlog.Source{Host: "ec2.amazonaws.com"},
			Targets: []attestlog.Target{{ID: "arn:aws:iam::111122223333:role/Node", Type: "AWS::IAM::Role"}},
			Attributes: map[string]any{
				"eventID": "E2", "userIdentity": map[string]any{"type": "AWSService"},
				"requestParameters": map[string]any{"roleArn": "arn:aws:iam::111122223333:role/Node"},
			},
		}},
		{"failed sign-in", `{"eventName":"ConsoleLogin","eventSource":"signin.amazonaws.com","eventTime":"2026-01-02T03:04:05Z","userIdentity":{"type":"Root","accountId":"1"},"errorMessage":"Failed authentication","responseElements":{"ConsoleLogin":"Failure"}}`, attestlog.Event{
			Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Tenant: "1", Service: "aws", Module: "signin.amazonaws.com",
			Action: "signin.ConsoleLogin", Operation: "login", Outcome: attestlog.Failure, Reason: "Failed authentication",
			Actor: attestlog.Actor{ID: "1", Type: "user"},
			Attributes: map[string]any{
				"responseElements": map[string]any{"ConsoleLogin": "Failure"}, "userIdentity": map[string]any{"type": "Root"},
			},
		}},
		{"hardly anything", `{"eventName":"X","eventTime":"soon","n":9007199254740993}`, attestlog.Event{
			Time: time.Unix(0, 0).UTC(), Service: "aws", Action: "X", Outcome: attestlog.Success,
			Actor: attestlog.Actor{ID: fit.UnknownActor},
			Attributes: map[string]any{"eventTime": "soon", "n": "9007199254740993", fit.NotesName: map[string]any{
				"/time": map[string]any{"as": "unknown"}, "/actor/id": map[string]any{"as": "empty"}, "/attributes/n": map[string]any{"as": "number"},
			}},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for e, err := range cloudtrail.Read(strings.NewReader(tt.in), "f") {
				if err != nil || string(e.Original) != tt.in || !strings.HasPrefix(e.ID, "cloudtrail:") {
					t.Fatalf("Read: %v, id %q, original %q", err, e.ID, e.Original)
				}
				e.ID, e.Original = "", nil
				if diff := cmp.Diff(tt.want, e); diff != "" {
					t.Errorf("Read (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func TestOperationComesFromTheVerb(t *testing.T) {
	for name, op := range map[string]string{
		"DescribeInstances": "read", "BatchGetItem": "read", "RunInstances": "create", "TerminateInstances": "delete",
		"AttachRolePolicy": "update", "SendCommand": "execute", "AcceptHandshake": "approve", "Frobnicate": "", "": "",
		"ConsoleLogin": "login", "GetFunction20150331v2": "read", "Batch": "",
	} {
		in := fmt.Sprintf(`{"eventName":%q,"eventID":"1"}`, name)
		for e, err := range cloudtrail.Read(strings.NewReader(in), "f") {
			if err != nil || e.Operation != op {
				t.Errorf("operation of %s = %q, %v, want %q", name, e.Operation, err, op)
			}
		}
	}
}

// read returns the event ids, or where and why there is none.
func read(t testing.TB, r io.Reader) (out []string) {
	for e, err := range cloudtrail.Read(r, "f") {
		var refused *convert.RecordError
		switch {
		case errors.As(err, &refused):
			out = append(out, fmt.Sprintf("%d:%d:%d", refused.Record, refused.Line, refused.Offset))
		case err != nil:
			out = append(out, err.Error())
		default:
			id, _ := e.Attributes["eventID"].(string)
			out = append(out, id)
		}
	}
	return out
}

func TestReadGoesOnBehindBadRecords(t *testing.T) {
	const a, b, c = `{"eventID":"a"}`, `{"eventID":"b","x":[{},{"y":"}{\"]"}]}`, `{"eventID":"c"}`
	tests := []struct {
		name, in string
		want     []string
	}{
		{"nothing", " \n", nil},
		{"no records", `{"Records":[]}`, nil},
		{"wrapped", "{ \"Records\" : [\n" + a + ",\n" + b + "\n]}", []string{"a", "b"}},
		{"files joined", `{"Records":[` + a + `]}{"Records":[` + b + `]}` + "\n", []string{"a", "b"}},
		{"lines", a + "\n" + b + "\n\n" + c, []string{"a", "b", "c"}},
		{"array", "[" + a + "," + b + "]", []string{"a", "b"}},
		{"byte order mark", "\uFEFF" + a, []string{"a"}},
		{"written out", "{\n  \"eventID\": \"a\",\n  \"x\": [\n    {\n    }\n  ]\n}\n" + c, []string{"a", "c"}},
		{"other values", `{"Records":[1,"a\"b",null,` + a + `]}`, []string{"1:1:12", "2:1:14", "3:1:21", "a"}},
		{"bad syntax inside", `{"Records":[{"eventID":x},` + a + `]}`, []string{"1:1:12", "a"}},
		{"brackets that do not match", `{"Records":[{"eventID":[},` + a + `]}`, []string{"1:1:12", "a"}},
		{"another program's record", `{"Records":[{"msg":"hi"},` + a + `]}`, []string{"1:1:12", "a"}},
		{"torn in a string", "{\"eventID\":\"x\n" + a + "\n", []string{"1:1:0", "a"}},
		{"torn behind a comma", "{\"eventID\":\"x\",\n" + a + "\n", []string{"1:1:0", "a"}},
		{"torn at the end", `{"Records":[` + a + `,{"eventID":"x`, []string{"a", "2:1:28"}},
		{"ends inside Records", `{"Records":[` + a + `,`, []string{"a", "2:1:28"}},
		{"text", "hello {}\n" + a + "\nbye", []string{"1:1:0", "a", "3:3:25"}},
		{"Records not first", `{"v":1,"Records":[` + a + `]}` + c, []string{"1:1:0", "c"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, read(t, strings.NewReader(tt.in))); diff != "" {
				t.Errorf("Read (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.want, read(t, iotest.OneByteReader(strings.NewReader(tt.in)))); diff != "" {
				t.Errorf("Read byte by byte (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadRefusesHugeRecordsOnly(t *testing.T) {
	in := `{"Records":[{"eventID":"` + strings.Repeat("x", convert.MaxRecord) + `"},{"eventID":"a"},{"eventID":"b","x":[` +
		strings.Repeat("1,", convert.MaxRecord/2) + `1]},{"eventID":"c"}]}`
	got := read(t, strings.NewReader(in))
	if len(got) != 4 || got[0] != "1:1:12" || got[1] != "a" || got[3] != "c" {
		t.Errorf("Read = %q", got)
	}
}

func TestReadBoundsAnOriginal(t *testing.T) {
	in := `{"eventID":"a","eventName":"X","x":"` + strings.Repeat("x", 2<<20) + `"}`
	for e, err := range cloudtrail.Read(strings.NewReader(in), "f") {
		if err != nil || string(e.Original) != in[:attestlog.MaxOriginal] {
			t.Fatalf("Read: %v, original of %d bytes", err, len(e.Original))
		}
		note := e.Attributes[fit.NotesName].(map[string]any)["/original"].(map[string]any)
		if note["bytes"] != float64(len(in)) {
			t.Errorf("note %v, want %d bytes", note, len(in))
		}
	}
}

func TestReadEndsWithTheReadersError(t *testing.T) {
	broken := errors.New("broken")
	r := io.MultiReader(strings.NewReader(`{"eventID":"a"}{"even`), iotest.ErrReader(broken))
	var last error
	n := 0
	for _, err := range cloudtrail.Read(r, "f") {
		n, last = n+1, err
	}
	var refused *convert.RecordError
	if n != 2 || !errors.Is(last, broken) || errors.As(last, &refused) {
		t.Errorf("%d results, the last error %v, want 2 and %v", n, last, broken)
	}
}

func ids(t testing.TB, in, source string) (out []string) {
	for e, err := range cloudtrail.Read(strings.NewReader(in), source) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e.ID)
	}
	return out
}

func TestIDsKeepEqualRecordsApart(t *testing.T) {
	got := ids(t, `{"Records":[`+role+`,`+byService+`,`+role+`]}`, "f")
	if len(got) != 3 || got[0] == got[2] || got[0] == got[1] {
		t.Fatalf("ids %q, want three", got)
	}
	// Delivered again, in another file and another form.
	if diff := cmp.Diff(got, ids(t, role+"\n"+byService+"\n"+role, "g")); diff != "" {
		t.Errorf("ids of the second delivery (-want +got):\n%s", diff)
	}
	other := strings.Replace(role, "AccessDenied", "Throttling", 1)
	if twice := ids(t, role+other, "f"); twice[0] == twice[1] {
		t.Errorf("two records with one eventID have one id")
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"Records":[` + role + `,` + byService + `]}`))
	f.Add([]byte(role + "\n{\"eventID\":\"x\n" + byService))
	f.Add([]byte(`{"Records":[1,{"eventName":"` + "\xff" + `","eventName":{},"userIdentity":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		seen := map[attestlog.IDKey]bool{}
		n := 0
		for e, err := range cloudtrail.Read(bytes.NewReader(data), "f") {
			n++
			if err != nil {
				var refused *convert.RecordError
				if !errors.As(err, &refused) || refused.Record != n || refused.Offset > int64(len(data)) {
					t.Fatalf("record %d: %v", n, err)
				}
				continue
			}
			if !bytes.Contains(data, e.Original) {
				t.Fatalf("original %q is not in the input", e.Original)
			}
			line, err := e.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := attestlog.ParseEvent(line); err != nil {
				t.Fatalf("ParseEvent(%q): %v", line, err)
			}
			key := attestlog.KeyOf(e.ID, e.Time, e.Tenant, e.Service)
			if seen[key] {
				t.Fatalf("two records have the key of %q", e.Original)
			}
			seen[key] = true
		}
	})
}

func TestEveryGoodRecordIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var in strings.Builder
		var want []string
		for i := range rapid.IntRange(0, 12).Draw(t, "records") {
			if rapid.Bool().Draw(t, "good") {
				id := fmt.Sprint("e", i)
				fmt.Fprintf(&in, `{"eventID":"%s","x":[{"y":"]}\""}]}`+"\n", id)
				want = append(want, id)
			} else {
				whole := `{"eventID":"torn","x":[{"y":"]}"},1],"z":{"a":{}}}`
				in.WriteString(whole[:rapid.IntRange(1, len(whole)-1).Draw(t, "cut")] + "\n")
			}
		}
		var got []string
		for e, err := range cloudtrail.Read(strings.NewReader(in.String()), "f") {
			if err == nil {
				got = append(got, e.Attributes["eventID"].(string))
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("Read of %q (-want +got):\n%s", in.String(), diff)
		}
	})
}
