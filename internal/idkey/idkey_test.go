package idkey_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/attestlog/attestlog/internal/idkey"
)

func TestKeysFollowFromTheirVectors(t *testing.T) {
	text, err := os.ReadFile("../../testdata/vectors/leaves.jsonl")
	if err != nil {
		t.Fatal(err)
	}

	keys := 0
	for line := range bytes.Lines(text) {
		var v struct {
			Name  string
			Key   string
			Event struct {
				ID, Tenant, Service string
				Time                time.Time
			}
		}
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatal(err)
		}

		e := v.Event
		key := idkey.Of(e.ID, e.Time.UnixNano(), e.Tenant, e.Service)
		if got := hex.EncodeToString(key[:]); got != v.Key {
			t.Errorf("%s: Of(%q, %v, %q, %q) = %s, want %s", v.Name, e.ID, e.Time, e.Tenant, e.Service, got, v.Key)
		}
		keys++
	}
	if keys == 0 {
		t.Error("no vectors")
	}
}

func TestKeyOfAnyOtherID(t *testing.T) {
	nanos := rapid.OneOf(rapid.Int64(), rapid.Int64Range(-3e6, 3e6)) // around 1970
	rapid.Check(t, func(t *rapid.T) {
		id := "id " + rapid.String().Draw(t, "id")
		tenant := rapid.String().Draw(t, "tenant")
		service := rapid.String().Draw(t, "service")
		when := nanos.Draw(t, "nanos")

		var hashed []byte
		for _, s := range []string{tenant, service} {
			hashed = binary.BigEndian.AppendUint32(hashed, uint32(len(s)))
			hashed = append(hashed, s...)
		}
		sum := sha256.Sum256(append(hashed, id...))
		millis := time.Unix(0, when).UnixMilli() // rounded down, before 1970 too
		want := binary.BigEndian.AppendUint64(nil, uint64(millis))[2:]
		want = append(want, sum[:10]...)

		got := idkey.Of(id, when, tenant, service)
		if !bytes.Equal(got[:], want) {
			t.Errorf("Of(%q, %d, %q, %q) = %x, want %x", id, when, tenant, service, got, want)
		}
		if again := idkey.Of([]byte(id), when, []byte(tenant), []byte(service)); again != got {
			t.Errorf("Of the same as bytes = %x, want %x", again, got)
		}
	})
}

// The tenant and the service are told apart from each other and from the id.
func TestKeysOfOtherNamesDiffer(t *testing.T) {
	seen := map[[idkey.Size]byte][3]string{}
	for _, names := range [][3]string{
		{"a", "", ""}, {"a", "b", ""}, {"a", "", "b"}, {"a", "b", "c"}, {"a", "c", "b"}, {"a", "bc", ""}, {"ca", "b", ""}, {"bca", "", ""},
	} {
		key := idkey.Of(names[0], 0, names[1], names[2])
		if other, taken := seen[key]; taken {
			t.Errorf("id, tenant and service %q and %q have one key", names, other)
		}
		seen[key] = names
	}
}

// Keys are ordered by time on either side of 1970, and those before it come last.
func TestKeysAreOrderedByTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		early := rapid.Int64Range(math.MinInt64, math.MaxInt64-1e6).Draw(t, "early")
		late := rapid.Int64Range(early+1e6, math.MaxInt64).Draw(t, "late") // a millisecond later or more
		a := idkey.Of("x", early, "", "")
		b := idkey.Of("x", late, "", "")

		isLess := bytes.Compare(a[:], b[:]) < 0
		across := early < 0 && late >= 0
		if isLess == across {
			t.Errorf("the keys of %d and %d are %x and %x", early, late, a, b)
		}
	})
}

func TestParseV7AgreesWithPackageUUID(t *testing.T) {
	version7 := rapid.Custom(func(t *rapid.T) string {
		u := uuid.UUID(rapid.SliceOfN(rapid.Byte(), idkey.Size, idkey.Size).Draw(t, "bytes"))
		u[6] = 7<<4 | u[6]&15
		u[8] = 2<<6 | u[8]&63
		return u.String()
	})
	any16 := rapid.Custom(func(t *rapid.T) string {
		return uuid.UUID(rapid.SliceOfN(rapid.Byte(), idkey.Size, idkey.Size).Draw(t, "bytes")).String()
	})
	spoiled := rapid.Custom(func(t *rapid.T) string {
		text := []byte(version7.Draw(t, "UUID"))
		text[rapid.IntRange(0, len(text)-1).Draw(t, "position")] = rapid.Byte().Draw(t, "byte")
		return string(text)
	})
	otherForm := rapid.Custom(func(t *rapid.T) string {
		text := version7.Draw(t, "UUID")
		return rapid.SampledFrom([]string{
			strings.ToUpper(text), strings.ReplaceAll(text, "-", ""), "urn:uuid:" + text, "{" + text + "}", text + " ", text[1:], "",
		}).Draw(t, "form")
	})

	rapid.Check(t, func(t *rapid.T) {
		id := rapid.OneOf(version7, any16, spoiled, otherForm).Draw(t, "id")

		u, err := uuid.Parse(id)
		want := err == nil && u.String() == id && u.Version() == 7 && u.Variant() == uuid.RFC4122
		got, ok := idkey.ParseV7(id)
		if ok != want || ok && got != u {
			t.Errorf("ParseV7(%q) = %x, %t, want %x, %t", id, got, ok, u[:], want)
		}
		if _, again := idkey.ParseV7([]byte(id)); again != ok {
			t.Errorf("ParseV7 of the same as bytes = %t, want %t", again, ok)
		}

		// The UUID is the key, whenever and wherever the event was.
		key := idkey.Of(id, 5, "tenant", "service")
		if isKey := key == [idkey.Size]byte(u); want && !isKey {
			t.Errorf("Of(%q) = %x, want the UUID", id, key)
		}
	})
}

func TestAppendUUIDWritesWhatPackageUUIDDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u := uuid.UUID(rapid.SliceOfN(rapid.Byte(), idkey.Size, idkey.Size).Draw(t, "bytes"))
		if got, want := string(idkey.AppendUUID([]byte("id "), u)), "id "+u.String(); got != want {
			t.Errorf("AppendUUID = %q, want %q", got, want)
		}
	})
}
