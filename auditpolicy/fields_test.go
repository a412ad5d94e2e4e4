package auditpolicy_test

import (
	"testing"

	"github.com/attestlog/attestlog/auditpolicy"
	"github.com/attestlog/attestlog/internal/field"
)

// A rule may name every text of an event that does not have to stay as it is.
func TestRulesNameFields(t *testing.T) {
	for i := range field.All() {
		f := &field.All()[i]
		if f.Object.List() { // "/changes/…" is a path in the values of changes
			continue
		}
		mustStay := f.ID == field.EventID || f.ID == field.Action || f.Values != nil
		isNamed := f.IsText() && !mustStay

		_, err := auditpolicy.New(nil, auditpolicy.Config{
			Rules: []auditpolicy.Rule{{Field: f.Pointer(), Effect: auditpolicy.Redact}},
		})
		if (err == nil) != isNamed {
			t.Errorf("a rule that redacts %s: %v, want it to be allowed: %t", f.Pointer(), err, isNamed)
		}
	}
}
