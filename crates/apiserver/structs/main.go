// Writes the types of Kubernetes' built-in kinds as a table of text:
//
//	go run . >table.txt
//
// One line per struct: its name, then NAME:NUMBER:TYPE for each field, where NUMBER is the
// field's number in protobuf, and TYPE has the prefixes `*` (a pointer), `[]` (a list) and
// `{}` (a map), and perhaps the suffix `@KEY` (merged by that key) or `@` (merged as a set).
// A field named `.` is a struct whose fields stand inline in JSON. A line that begins with `@`
// names a kind: apiVersion, kind, struct.
package main

import (
	"fmt"
	"reflect"
	"sort"
	"strings"

	admission "k8s.io/api/admissionregistration/v1"
	apps "k8s.io/api/apps/v1"
	authentication "k8s.io/api/authentication/v1"
	authorization "k8s.io/api/authorization/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	batch "k8s.io/api/batch/v1"
	coordination "k8s.io/api/coordination/v1"
	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	events "k8s.io/api/events/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	rbac "k8s.io/api/rbac/v1"
	scheduling "k8s.io/api/scheduling/v1"
	storage "k8s.io/api/storage/v1"
	extensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var kinds = []struct {
	group   string
	objects []any
}{
	{"v1", []any{core.ConfigMap{}, core.Endpoints{}, core.Event{}, core.LimitRange{}, core.Namespace{}, core.Node{},
		core.PersistentVolume{}, core.PersistentVolumeClaim{}, core.Pod{}, core.PodTemplate{}, core.ReplicationController{},
		core.ResourceQuota{}, core.Secret{}, core.Service{}, core.ServiceAccount{}, meta.DeleteOptions{}}},
	{"apps/v1", []any{apps.ControllerRevision{}, apps.DaemonSet{}, apps.Deployment{}, apps.ReplicaSet{}, apps.StatefulSet{}}},
	{"batch/v1", []any{batch.CronJob{}, batch.Job{}}},
	{"autoscaling/v1", []any{autoscalingv1.Scale{}, autoscalingv1.HorizontalPodAutoscaler{}}},
	{"autoscaling/v2", []any{autoscaling.HorizontalPodAutoscaler{}}},
	{"coordination.k8s.io/v1", []any{coordination.Lease{}}},
	{"discovery.k8s.io/v1", []any{discovery.EndpointSlice{}}},
	{"events.k8s.io/v1", []any{events.Event{}}},
	{"networking.k8s.io/v1", []any{networking.Ingress{}, networking.IngressClass{}, networking.NetworkPolicy{}}},
	{"policy/v1", []any{policy.PodDisruptionBudget{}, policy.Eviction{}}},
	{"rbac.authorization.k8s.io/v1", []any{rbac.Role{}, rbac.ClusterRole{}, rbac.RoleBinding{}, rbac.ClusterRoleBinding{}}},
	{"scheduling.k8s.io/v1", []any{scheduling.PriorityClass{}}},
	{"storage.k8s.io/v1", []any{storage.StorageClass{}}},
	{"admissionregistration.k8s.io/v1", []any{admission.MutatingWebhookConfiguration{}, admission.ValidatingWebhookConfiguration{}}},
	{"apiextensions.k8s.io/v1", []any{extensions.CustomResourceDefinition{}}},
	{"authentication.k8s.io/v1", []any{authentication.TokenRequest{}, authentication.TokenReview{}, authentication.SelfSubjectReview{}}},
	{"authorization.k8s.io/v1", []any{authorization.SubjectAccessReview{}, authorization.SelfSubjectAccessReview{},
		authorization.LocalSubjectAccessReview{}, authorization.SelfSubjectRulesReview{}}},
}

// What is not a struct of fields in JSON.
var plain = map[string]string{
	"Time": "time", "MicroTime": "time", "Quantity": "quantity", "IntOrString": "intorstring", "Duration": "duration",
	"RawExtension": "any", "FieldsV1": "fields", "JSONSchemaProps": "any", "JSON": "any", "TypeMeta": "",
}

var names = map[reflect.Type]string{}
var taken = map[string]reflect.Type{}
var lines = map[string]string{}

func name(t reflect.Type) string {
	if found, ok := names[t]; ok {
		return found
	}
	short := t.Name()
	if other, ok := taken[short]; ok && other != t {
		parts := strings.Split(t.PkgPath(), "/")
		short = parts[len(parts)-2] + "." + short
	}
	names[t], taken[short] = short, t
	write(t, short)
	return short
}

func kind(t reflect.Type) string {
	if word, ok := plain[t.Name()]; ok && t.Kind() == reflect.Struct {
		return word
	}
	switch t.Kind() {
	case reflect.Pointer:
		return "*" + kind(t.Elem())
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "bytes"
		}
		return "[]" + kind(t.Elem())
	case reflect.Map:
		return "{}" + kind(t.Elem())
	case reflect.Struct:
		return name(t)
	case reflect.Float64:
		return "float64"
	default:
		return t.Kind().String()
	}
}

func write(t reflect.Type, short string) {
	out := []string{short}
	for i := range t.NumField() {
		field := t.Field(i)
		tag := strings.Split(field.Tag.Get("json"), ",")
		inline := field.Anonymous && (tag[0] == "" || len(tag) > 1 && tag[1] == "inline")
		if tag[0] == "-" || field.Type.Name() == "TypeMeta" {
			continue
		}
		json := tag[0]
		if inline {
			json = "."
		}
		number := "0"
		if parts := strings.Split(field.Tag.Get("protobuf"), ","); len(parts) > 1 {
			number = parts[1]
		}
		suffix := ""
		if strings.Contains(field.Tag.Get("patchStrategy"), "merge") {
			suffix = "@" + field.Tag.Get("patchMergeKey")
		}
		out = append(out, json+":"+number+":"+kind(field.Type)+suffix)
	}
	lines[short] = strings.Join(out, " ")
}

func main() {
	var heads []string
	for _, group := range kinds {
		for _, object := range group.objects {
			t := reflect.TypeOf(object)
			heads = append(heads, fmt.Sprintf("@%s %s %s", group.group, t.Name(), name(t)))
		}
	}
	fmt.Println(strings.Join(heads, "\n"))
	var all []string
	for _, line := range lines {
		all = append(all, line)
	}
	sort.Strings(all)
	fmt.Println(strings.Join(all, "\n"))
}
