package interop

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	serializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/util/validation"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/attestlog/attestlog"
)

// auditCodec refuses fields that it does not know.
var auditCodec = sync.OnceValue(func() *serializer.Serializer {
	scheme := runtime.NewScheme()
	if err := auditv1.AddToScheme(scheme); err != nil {
		panic(err)
	}
	return serializer.NewSerializerWithOptions(serializer.DefaultMetaFactory, scheme, scheme, serializer.SerializerOptions{Strict: true})
})

func checkKubernetes(e *attestlog.Entry, text []byte) error {
	o, err := object(text)
	if err != nil {
		return err
	}
	decoded, kind, err := auditCodec().Decode(text, nil, nil)
	if err != nil {
		return fmt.Errorf("Decode: %w", err)
	}
	got, ok := decoded.(*auditv1.Event)
	if !ok {
		return fmt.Errorf("the codec reads %v", kind)
	}
	f := &findings{}
	for _, name := range []string{"level", "auditID", "stage", "requestURI", "verb", "user"} { // those without +optional
		if _, ok := o[name]; !ok {
			f.add("%s is required", name)
		}
	}
	if got.Level != auditv1.LevelMetadata || got.Stage != auditv1.StageResponseComplete || string(got.AuditID) != e.ID || got.RequestURI != e.Request.Path || got.UserAgent != e.Source.UserAgent {
		f.add("the codec reads %+v", got)
	}
	if got.Verb == "" || got.User.Username != e.Actor.ID {
		f.add("verb is %q, username %q, want %q", got.Verb, got.User.Username, e.Actor.ID)
	}
	micro := metav1.NewMicroTime(e.Time.Truncate(time.Microsecond))
	if at := got.RequestReceivedTimestamp; !at.Equal(&micro) || got.StageTimestamp.Before(&at) {
		f.add("received %v, stage %v, want %v", at, got.StageTimestamp, e.Time)
	}
	for _, ip := range got.SourceIPs {
		if _, err := netip.ParseAddr(ip); err != nil {
			f.all = append(f.all, err)
		}
	}
	if s := got.ResponseStatus; s != nil && !slices.Contains([]string{"", metav1.StatusSuccess, metav1.StatusFailure}, s.Status) {
		f.add("responseStatus.status is %q", s.Status)
	}
	for key := range got.User.Extra { // authentication.k8s.io/v1
		if problems := validation.IsQualifiedName(key); len(problems) > 0 || key != strings.ToLower(key) {
			f.add("user.extra has %q: %v", key, problems)
		}
	}
	for key, value := range got.Annotations {
		if problems := validation.IsQualifiedName(key); len(problems) > 0 || !strings.HasPrefix(key, "attestlog/") || value == "" {
			f.add("annotation %q is %q: %v", key, value, problems)
		}
	}
	if got.Annotations["attestlog/action"] != e.Action || got.Annotations["attestlog/index"] != strconv.FormatUint(e.Index, 10) {
		f.add("annotations are %v", got.Annotations)
	}
	if status := int64(e.Request.Status); status > 0 && (got.ResponseStatus == nil || int64(got.ResponseStatus.Code) != status) && got.Annotations["attestlog/status"] != fmt.Sprint(status) {
		f.add("responseStatus is %v, want the code %d", got.ResponseStatus, status)
	}
	again, err := runtime.Encode(auditCodec(), got)
	if err != nil {
		return err
	}
	var want, back any
	if err := errors.Join(json.Unmarshal(text, &want), json.Unmarshal(again, &back)); err != nil {
		return err
	}
	if diff := cmp.Diff(want, back); diff != "" {
		f.add("the codec writes something else (-want +got):\n%s", diff)
	}
	return f.err()
}
