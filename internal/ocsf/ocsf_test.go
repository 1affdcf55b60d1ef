package ocsf_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"unicode"

	"github.com/meshtls-tap/meshtls-tap/internal/ocsf"
	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

var update = flag.Bool("update", false, "write the golden files anew")

// kinds are the kinds of records, each with a file of records in testdata, and a golden file of their events.
var kinds = []string{"finding", "flow", "posture", "tap"}

// records decodes the records of a file.
func records(t testing.TB, file string) (out []record.Record) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for in := json.NewDecoder(f); in.More(); {
		var r record.Record
		if err := in.Decode(&r); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		out = append(out, r)
	}
	if len(out) == 0 {
		t.Fatalf("%s: no records", file)
	}
	return out
}

// TestGolden: the events of each kind of record are as in the golden files. test/ocsf validates these files.
func TestGolden(t *testing.T) {
	for _, kind := range kinds {
		var got bytes.Buffer
		for _, r := range records(t, filepath.Join("testdata", kind+".json")) {
			if err := json.Indent(&got, ocsf.Append(nil, &r), "", "  "); err != nil {
				t.Fatal(err)
			}
			got.WriteString("\n")
		}
		file := filepath.Join("testdata", kind+".ocsf.json")
		if *update {
			if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s differs: run with -update and read the difference. Got:\n%s", file, got.Bytes())
		}
	}
}

// expressed maps members of a record whose value an event may have in another form to the attribute with that form. An empty
// attribute means that the class of the event, and the format, imply the value.
var expressed = map[string]string{
	"@timestamp": "time", "event.start": "start_time", "event.end": "end_time", "event.duration": "duration", "event.created": "metadata.logged_time",
	"event.module": "", "event.outcome": "status_id", "data_stream.type": "", "data_stream.namespace": "", "threat.framework": "", "network.iana_number": "connection_info.protocol_num",
	"event.kind": "is_alert", "event.action": "activity_id", "event.category": "", "event.type": "", "ecs.version": "", "observer.type": "",
	"network.type": "connection_info.protocol_ver_id", "network.direction": "connection_info.direction_id",
	"tls.server.not_before": "tls.certificate.created_time", "tls.server.not_after": "tls.certificate.expiration_time",
}

// TestNothingIsLost: each value of a record is in its event, with the exceptions in expressed.
func TestNothingIsLost(t *testing.T) {
	files, err := filepath.Glob("../finding/testdata/*.json")
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	for _, kind := range kinds {
		files = append(files, filepath.Join("testdata", kind+".json"))
	}
	for _, file := range files {
		for _, r := range records(t, file) {
			event := ocsf.Append(nil, &r)
			has := map[any]bool{}
			leaves(decode(t, event), "", func(_ string, v any) { has[v] = true })
			leaves(decode(t, r.AppendJSON(nil)), "", func(path string, v any) {
				if _, ok := expressed[path]; !ok && !has[v] {
					t.Errorf("%s: %s %v is not in %s", file, path, v, event)
				}
			})
		}
	}
}

func decode(t *testing.T, b []byte) (v any) {
	t.Helper()
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	return v
}

// leaves calls f for each value in a document that is neither an object nor a list, with its dotted path.
func leaves(node any, path string, f func(path string, v any)) {
	switch node := node.(type) {
	case map[string]any:
		for name, v := range node {
			at := name
			if path != "" {
				at = path + "." + name
			}
			leaves(v, at, f)
		}
	case []any:
		for _, v := range node {
			leaves(v, path, f)
		}
	default:
		f(path, node)
	}
}

// TestFindingUID: all records of one finding have the same finding_info.uid. Another edge, rule, tap, run or time gives another uid.
func TestFindingUID(t *testing.T) {
	uid := func(change func(*record.Record)) string {
		r := records(t, "testdata/finding.json")[0]
		change(&r)
		var e struct {
			Info struct{ UID string } `json:"finding_info"`
		}
		if err := json.Unmarshal(ocsf.Append(nil, &r), &e); err != nil {
			t.Fatal(err)
		}
		return e.Info.UID
	}
	first := uid(func(*record.Record) {})
	if same := uid(func(r *record.Record) {
		r.Event.ID, r.Event.Sequence, r.Timestamp, r.Meshtls.Finding.State, r.Meshtls.Finding.Count = "1", 9, 7, "resolved", 12
	}); same != first {
		t.Errorf("the end of a finding has the uid %s, its start %s", same, first)
	}
	seen := map[string]bool{first: true}
	for name, change := range map[string]func(*record.Record){
		"edge": func(r *record.Record) { r.Meshtls.Edge.Key += "1" }, "rule": func(r *record.Record) { r.Rule.ID = "other" },
		"tap": func(r *record.Record) { r.Kubernetes.Pod.UID = "other" }, "run": func(r *record.Record) { r.Meshtls.Run = "other" },
		"time": func(r *record.Record) { r.Meshtls.Finding.FirstSeen++ },
	} {
		u := uid(change)
		if seen[u] {
			t.Errorf("another %s does not change the uid %s", name, u)
		}
		seen[u] = true
	}
}

// FuzzAppend: any record gives one JSON object without characters that a terminal interprets, and the same bytes each time.
func FuzzAppend(f *testing.F) {
	for _, kind := range kinds {
		for _, r := range records(f, filepath.Join("testdata", kind+".json")) {
			f.Add(r.AppendJSON(nil))
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var r record.Record
		if json.Unmarshal(text, &r) != nil {
			t.Skip("not a record")
		}
		b := ocsf.Append([]byte("before"), &r)[len("before"):]
		if !json.Valid(b) || b[0] != '{' {
			t.Errorf("not a JSON object: %s", b)
		}
		if at := bytes.IndexFunc(b, func(r rune) bool { return !unicode.IsPrint(r) }); at >= 0 {
			t.Errorf("%q contains %q", b, b[at:])
		}
		if again := ocsf.Append(nil, &r); !bytes.Equal(b, again) {
			t.Errorf("%s\n%s", b, again)
		}
	})
}
