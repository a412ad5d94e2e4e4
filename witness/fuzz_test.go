package witness

import (
	"bytes"
	"testing"
)

const sample = `old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
`

// TestSampleRequest reads the sample of c2sp.org/tlog-witness.
func TestSampleRequest(t *testing.T) {
	r, err := parseRequest([]byte(sample))
	if err != nil || r.old != 20852014 || len(r.proof) != 4 || !bytes.HasPrefix(r.note, []byte("example.com/behind-the-sofa\n")) {
		t.Errorf("parseRequest = %+v, %v", r, err)
	}
}

func FuzzParseRequest(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte("old 0\n\nexample.com/log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n— x AAAA\n"))
	f.Add([]byte("old 1\n\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := parseRequest(body)
		if err != nil {
			return
		}
		if again := r.marshal(); !bytes.Equal(again, body) {
			t.Errorf("parse and marshal %q = %q", body, again)
		}
		if len(r.proof) > maxHashes {
			t.Errorf("%d hashes", len(r.proof))
		}
	})
}

func FuzzParseState(f *testing.F) {
	l := newTestLog(f, origin, 3)
	for _, n := range []newest{{}, {origin: {Origin: origin, Note: l.checkpoint(f, 3)}}} {
		f.Add(n.marshal())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		n, offset, err := parseState(string(data))
		if err != nil {
			if offset < 0 || offset > len(data) {
				t.Errorf("byte %d of %d: %v", offset, len(data), err)
			}
			return
		}
		again, _, err := parseState(string(n.marshal()))
		if err != nil || len(again) != len(n) {
			t.Errorf("parse and marshal %q: %v", data, err)
		}
	})
}
