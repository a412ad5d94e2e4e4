package main

import (
	"strings"
	"testing"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/field"
	"github.com/attestlog/attestlog/internal/testlog"
)

func TestShowHasEveryField(t *testing.T) {
	text := string(describe(&attestlog.Entry{Event: testlog.FullEvent()}))
	for i := range field.All() {
		f := &field.All()[i]
		isValue := f.IsText() || f.Kind == field.Number
		if isValue && strings.Count(text, testlog.FieldValue(f)) != 1 {
			t.Errorf("%s is not shown once:\n%s", f.Path(), text)
		}
	}
}
