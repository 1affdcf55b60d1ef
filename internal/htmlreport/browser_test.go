package htmlreport

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

var views = []view{{width: 1280, height: 900}, {width: 1280, height: 900, dark: true}, {width: 390, height: 844}, {width: 390, height: 844, dark: true}}

func (v view) String() string {
	theme := "light"
	if v.dark {
		theme = "dark"
	}
	return fmt.Sprintf("%d-%s", v.width, theme)
}

// expand opens all that a page can show: the workloads of a pair of namespaces, all findings, details of an edge, both pictures.
const expand = `{
	for (const d of document.querySelectorAll("details")) d.open = true;
	const press = (s) => document.querySelector(s)?.click();
	press("#namespaces tbody tr:nth-child(2) button");
	press("#table tbody button");
	if (byId("table")) { choose(D.edges[0].f); chooseEdge(0); }
	scrollTo(0, 0);
	document.activeElement.blur();
}`

// overflow returns by how much the page is wider than the window.
const overflow = `Math.max(0, document.documentElement.scrollWidth - innerWidth)`

// TestAccessible: axe-core finds no violation in both themes and at two widths, the page is not wider than the window, and nothing else
// than the file is requested or complained about.
func TestAccessible(t *testing.T) {
	c := startChromium(t)
	build(t, "install")
	axe, err := os.ReadFile("../../.cache/report/node_modules/axe-core/axe.min.js")
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]*Report{"small": small(), "large": large(), "hostile": hostile(), "empty": {}} {
		for i, v := range views {
			if name == "large" && i%3 != 0 { // it takes long
				continue
			}
			p := c.open(r, v)
			p.eval(expand, nil)
			var wide int
			if p.eval(overflow, &wide); wide > 0 {
				t.Errorf("%s %v: the page is %d pixels wider than the window", name, v, wide)
			}
			p.eval(string(axe)+";0", nil)
			var found struct {
				Violations []string
				Passes     int
			}
			p.eval(`axe.run(document, {resultTypes: ["violations"]}).then((r) => ({
				violations: r.violations.map((v) => v.id + ": " + v.help + ": " + v.nodes.slice(0, 3).map((n) => n.html.slice(0, 200) + " " + n.failureSummary).join("; ")),
				passes: r.passes.length,
			}))`, &found)
			for _, x := range found.Violations {
				t.Errorf("%s %v: %s", name, v, x)
			}
			if found.Passes < 10 {
				t.Errorf("%s %v: axe-core checked only %d rules", name, v, found.Passes)
			}
			for _, x := range p.complaints() {
				t.Errorf("%s %v: %s", name, v, x)
			}
		}
	}
}

// TestComplaints proves that the test notices a request, an error and a violation of the policy.
func TestComplaints(t *testing.T) {
	p := startChromium(t).open(small(), views[0])
	if list := p.complaints(); len(list) > 0 {
		t.Fatal(list)
	}
	p.eval(`{
		document.body.append(Object.assign(document.createElement("img"), {src: "x.png"}));
		document.body.setAttribute("style", "color: red");
		setTimeout(() => { throw new Error("thrown"); });
	}`, nil)
	all := strings.Join(p.complaints(), "\n")
	for _, want := range []string{"img-src", "style-src", "thrown"} {
		if !strings.Contains(all, want) {
			t.Errorf("no complaint about %s in:\n%s", want, all)
		}
	}
}

var hostileNames = []string{
	"\x1b[31mred\x1b[0m", "</script><script>alert(1)</script>", `"><img src=x onerror=alert(1)>`, "\u202etxt.exe", "{{.}}", "${alert(1)}", "javascript:alert(1)", "]]>", "<!--",
	"\u2028ls", "'\";alert(1)--", "пример.рф", "日本語.jp", "שלום.example", "a\u0301\u0301\u0301\u0301", "=cmd|' /C calc'!A0", "{n|x}", "\xff\xfe", "<style>*{display:none}</style>",
	"&lt;b&gt;", strings.Repeat("long", 70), "__proto__", "constructor", "<svg onload=alert(1)>", "</title><h1>x", "%0d%0a", "\x00", "</textarea>", "]]><![CDATA[",
}

// hostile returns a report in which each text is hostile.
func hostile() *Report {
	r := &Report{Title: hostileNames[1], Answer: hostileNames[2], Made: Made{At: start, Version: hostileNames[2]}}
	for i, h := range hostileNames {
		other := hostileNames[(i+1)%len(hostileNames)]
		from := topology.Workload{Namespace: h, Kind: h, Name: other}
		to := topology.Workload{Name: h, Claimed: true, Addresses: []netip.Addr{netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("fe80::1%" + "x<b>")}}
		r.Edges = append(r.Edges, topology.Edge{
			From: from, To: to, Port: uint16(i), Scope: "wire", Class: "workload", Verdict: []string{"plaintext", h, "mtls"}[i%3], Protocol: h, Version: h, Cipher: h, Basis: h, Reasons: []string{h},
			Connections: record.ByVerdict{Plaintext: 1}, Ends: []topology.End{{Side: h, Verdict: h}}, Disagreement: h, Findings: []string{h}, Expectation: h, Mesh: h,
			Changes: []topology.Change{{At: start, Verdict: h}, {At: start, Verdict: "mtls"}},
		}, topology.Edge{From: to, To: from, Scope: h, Class: h, Verdict: h})
		r.Findings = append(r.Findings, topology.Finding{Rule: h, Severity: 99, State: h, Message: h, From: from, To: to, Verdict: h, Basis: h, Reasons: []string{h}, Evidence: h, Reference: h, Coverage: h})
		r.Findings = append(r.Findings, topology.Finding{Rule: h, Severity: 99, Reference: "https://example.com/" + h})
		r.Unknown = append(r.Unknown, topology.Unknown{Text: h, Workloads: []topology.Workload{from, to}})
		r.Made.Sources = append(r.Made.Sources, Source{Kind: h, Name: h, Note: h})
		r.Made.Losses = append(r.Made.Losses, h)
	}
	return r
}

// TestHostile: hostile texts stay text, also in what the script creates.
func TestHostile(t *testing.T) {
	p := startChromium(t).open(hostile(), views[0])
	p.eval(expand, nil)
	for i := range len(hostileNames) {
		p.eval(fmt.Sprintf(`choose(%d); chooseEdge(%d); document.querySelectorAll("#table tbody button")[%d]?.click(); document.querySelectorAll("#namespaces button")[%d]?.click()`, i, i, i, i), nil)
	}
	var got struct {
		Scripts, Foreign, Handlers int
		Text                       string
	}
	p.eval(`({
		scripts: document.scripts.length,
		foreign: document.querySelectorAll("img, svg, iframe, object, embed, textarea, h1 ~ h1, main style, a[href^='javascript' i]").length,
		handlers: [...document.querySelectorAll("*")].filter((e) => e.getAttributeNames().some((n) => n.startsWith("on"))).length,
		text: document.body.innerText,
	})`, &got)
	if got.Scripts != 3 || got.Foreign != 0 || got.Handlers != 0 {
		t.Errorf("%d scripts, %d elements from names, %d handlers", got.Scripts, got.Foreign, got.Handlers)
	}
	for _, want := range []string{`\x1b[31mred`, `\u202etxt.exe`, "<svg onload=alert(1)>", "日本語.jp", "{{.}}", `\xff\xfe`, `\u2028ls`} {
		if !strings.Contains(got.Text, want) {
			t.Errorf("%q is not visible", want)
		}
	}
	if i := strings.IndexFunc(got.Text, func(r rune) bool { return r != '\n' && r != '\t' && r != '\u00a0' && !isVisible(r) }); i >= 0 {
		t.Errorf("invisible character in %q", got.Text[i:min(len(got.Text), i+40)])
	}
	for _, x := range p.complaints() {
		t.Error(x)
	}
}

// TestFilter: with 2,000 edges a filter changes no more of the document than the rows that it shows, and its time is printed. What it shows is right.
func TestFilter(t *testing.T) {
	r := large()
	p := startChromium(t).open(r, views[0])
	var want int
	for i := range r.Edges {
		if strings.Contains(r.Edges[i].From.Name+" "+r.Edges[i].To.Name, "service-04") && r.Edges[i].Verdict == "plaintext" {
			want++
		}
	}
	p.eval(`var type = (text) => {
		const input = byId("text");
		input.value = text;
		input.dispatchEvent(new Event("input"));
		return document.body.offsetHeight; // the layout is part of the time
	};
	var changes = 0;
	new MutationObserver((list) => { changes += list.length; }).observe(byId("table"), {subtree: true, childList: true, attributes: true});
	[...document.querySelectorAll("#verdicts label")].find((l) => l.textContent.includes("plaintext")).firstChild.click()`, nil)
	var got struct {
		Shown   int
		Status  string
		Times   []float64
		Changes int
	}
	p.eval(`(async () => {
		type("service-04");
		const shown = [...document.querySelectorAll("#table tbody tr")].filter((r) => r.offsetHeight > 0).length;
		const status = byId("shown").textContent;
		document.querySelector("#verdicts input").click();
		type("");
		await null;
		changes = 0;
		const times = [];
		for (let i = 0; i < 20; i++) {
			const begin = performance.now();
			type(i % 2 ? "" : "team-0" + i % 10);
			times.push(performance.now() - begin);
		}
		await null;
		return {shown, status, times, changes};
	})()`, &got)
	slices.Sort(got.Times)
	t.Logf("20 filters of 2,000 edges: median %.1f ms, longest %.1f ms; %d changes of the document", got.Times[10], got.Times[19], got.Changes)
	if got.Shown != want || !strings.HasPrefix(got.Status, fmt.Sprintf("Edges that match: %d of 2000", want)) || want == 0 {
		t.Errorf("%d rows are shown, want %d: %s", got.Shown, want, got.Status)
	}
	if most := 20 * (50 + 20); got.Changes > most || got.Changes == 0 { // a button for each row that is shown, and few others
		t.Errorf("20 filters changed the document %d times, want at most %d", got.Changes, most)
	}
	var shown int
	if p.eval(`[...document.querySelectorAll("#table tbody tr")].filter((r) => r.offsetHeight > 0).length`, &shown); shown > 50 {
		t.Errorf("%d rows are laid out at once", shown)
	}
	var first []string
	p.eval(`document.querySelectorAll("#table thead button")[2].click(); document.querySelectorAll("#table thead button")[2].click();
		[...document.querySelectorAll("#table tbody tr")].slice(0, 2).map((r) => r.cells[2].textContent)`, &first)
	if !slices.Equal(first, []string{"9092", "9092"}) {
		t.Errorf("sorted by port, descending: %q", first)
	}
}

// TestKeyboard: all that the page offers can be reached and used by keyboard.
func TestKeyboard(t *testing.T) {
	p := startChromium(t).open(small(), views[0])
	tab := func(selector string) {
		t.Helper()
		for range 100 {
			p.press("Tab", "Tab", 9, "")
			var there bool
			if p.eval(fmt.Sprintf(`document.activeElement.matches(%q)`, selector), &there); there {
				return
			}
		}
		t.Fatalf("%s cannot be reached", selector)
	}
	expect := func(expression, want string) {
		t.Helper()
		var got string
		if p.eval("String("+expression+")", &got); got != want {
			t.Errorf("%s is %q, want %q", expression, got, want)
		}
	}
	enter := func() { p.press("Enter", "Enter", 13, "\r") }
	tab("a.skip")
	tab(".scroll")
	tab("#namespaces tbody tr:nth-child(2) button")
	enter()
	expect(`document.activeElement.textContent`, "Workloads of shop to pay")
	tab("#workloads tbody button")
	enter()
	expect(`document.activeElement.id`, "edges")
	expect(`byId("shown").textContent`, "Edges that match: 1 of 7.")
	tab("#text")
	tab("#verdicts input")
	tab("#pair button")
	enter()
	expect(`byId("shown").textContent`, "Edges that match: 7 of 7.")
	expect(`document.activeElement.id`, "text")
	tab("#table thead button")
	enter()
	expect(`document.querySelector("#table th").getAttribute("aria-sort")`, "ascending")
	tab("#table tbody button")
	enter()
	expect(`document.activeElement.getAttribute("aria-expanded")`, "true")
	tab(".detail button:last-child")
	enter()
	expect(`document.activeElement.id`, "timeline")
	p.eval(`byId("center").focus()`, nil)
	p.press("ArrowDown", "ArrowDown", 40, "")
	expect(`document.activeElement.id`, "center")
	expect(`byId("picture").hidden || byId("picture").querySelectorAll("canvas").length`, "1")
	tab("#peers button")
	enter()
	expect(`document.activeElement.id`, "neighbors")
}

// TestOnePair: if all edges are between one pair of namespaces, as in a capture without names, the matrix of workloads is open.
func TestOnePair(t *testing.T) {
	p := startChromium(t).open(&Report{Edges: []topology.Edge{
		{From: topology.Workload{Name: "10.0.0.1"}, To: topology.Workload{Name: "10.0.0.2"}, Port: 80, Scope: "wire", Verdict: "plaintext", Connections: record.ByVerdict{Plaintext: 1}},
	}}, views[0])
	var got struct{ Cells, Focus string }
	p.eval(`({cells: byId("workloads").querySelector("table").innerText.replace(/\s+/g, " "), focus: document.activeElement.tagName})`, &got)
	if want := "10.0.0.2 10.0.0.1 10.0.0.1 (no name is known) to 10.0.0.2 (no name is known): plaintext 1 of 1"; strings.TrimSpace(got.Cells) != want || got.Focus != "BODY" {
		t.Errorf("%+v, want %s", got, want)
	}
}

// TestRest: what exceeds the matrix of workloads, or a picture, is counted with its verdicts.
func TestRest(t *testing.T) {
	r := &Report{}
	for i := range 100 {
		r.Edges = append(r.Edges, topology.Edge{From: deployment("a", fmt.Sprint("client-", i)), To: deployment("b", "server"), Port: 80, Scope: "wire", Verdict: "plaintext", Connections: record.ByVerdict{Plaintext: 1}})
	}
	p := startChromium(t).open(r, views[0])
	var got string
	p.eval(`document.querySelector("#namespaces button").click(); choose(D.edges[0].t); byId("workloads").innerText + byId("peers").innerText`, &got)
	for _, want := range []string{"40 more workloads are only in the table. Their edges: 40 plaintext.", "75 more are only in the table. Their edges: 75 plaintext."} {
		if !strings.Contains(got, want) {
			t.Errorf("the page does not say: %s", want)
		}
	}
}

// TestTimeline: the list beside the picture has each change with its time.
func TestTimeline(t *testing.T) {
	p := startChromium(t).open(small(), views[0])
	var got []string
	p.eval(`chooseEdge(0); [...document.querySelectorAll("#changes li")].map((l) => l.textContent)`, &got)
	want := []string{"2026-11-30 03:01:00 UTC: mutual TLS", "2026-11-30 03:20:00 UTC: plaintext", "2026-11-30 03:31:00 UTC: mutual TLS"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestWithoutScript: the answer, the matrix, the findings, the table and what is not known can be read without JavaScript.
func TestWithoutScript(t *testing.T) {
	c := startChromium(t)
	for _, v := range []view{{width: 1280, height: 900, noScript: true}, {width: 390, height: 844, noScript: true}} {
		p := c.open(small(), v)
		var doc struct{ Root struct{ NodeID int } }
		p.call(p.session, "DOM.getDocument", nil, &doc)
		var texts struct {
			Nodes []struct{ Name, Role struct{ Value any } }
		}
		p.call(p.session, "Accessibility.getFullAXTree", nil, &texts) // what a screen reader gets: no hidden text
		var all strings.Builder
		for _, n := range texts.Nodes {
			fmt.Fprintln(&all, n.Name.Value)
		}
		for _, want := range []string{"1 of 6 edges is plaintext", "mtls-downgrade", "10,240 packets seen, 17 lost.", "pay/ledger-db", "5432", "shop/legacy-cron", "1.2.3"} {
			if !strings.Contains(all.String(), want) {
				t.Errorf("%d pixels: no %q", v.width, want)
			}
		}
		for _, not := range []string{"Timeline of an edge", "only with findings", "Choose a cell"} {
			if strings.Contains(all.String(), not) {
				t.Errorf("%d pixels: %q does not work without script", v.width, not)
			}
		}
	}
}

// TestPrint: in print all edges that match are shown, and all findings are open.
func TestPrint(t *testing.T) {
	p := startChromium(t).open(large(), view{width: 1280, height: 900, dark: true})
	p.call(p.session, "Emulation.setEmulatedMedia", map[string]any{"media": "print"}, nil)
	var got struct {
		Rows, Closed int
		Background   string
	}
	p.eval(`dispatchEvent(new Event("beforeprint")); ({
		rows: [...document.querySelectorAll("#table tbody tr")].filter((r) => r.offsetHeight > 0).length,
		closed: document.querySelectorAll("details:not([open])").length,
		background: getComputedStyle(document.body).backgroundColor,
	})`, &got)
	if got.Rows != 2000 || got.Closed != 0 || got.Background != "rgb(255, 255, 255)" {
		t.Errorf("%+v", got)
	}
	var after struct{ Rows, Open int }
	p.eval(`dispatchEvent(new Event("beforeprint")); dispatchEvent(new Event("afterprint")); ({
		rows: [...document.querySelectorAll("#table tbody tr")].filter((r) => r.offsetHeight > 0).length,
		open: document.querySelectorAll("details[open]").length,
	})`, &after)
	if after.Rows != 50 || after.Open != 0 {
		t.Errorf("after the print: %+v", after)
	}
}

// TestPrintFits: on paper nothing can be scrolled, so what is wider than the sheet would be lost: the matrices of many namespaces and workloads.
func TestPrintFits(t *testing.T) {
	long := func(kind string, i int) string { return fmt.Sprintf("%s-%02d-%s", kind, i, strings.Repeat("long", 12)) }
	for _, n := range []int{1, 6, 7, 60} {
		r := &Report{}
		for i := range n {
			for _, to := range []string{long("namespace", i), long("namespace", 0)} {
				e := topology.Edge{From: deployment(long("namespace", 0), "client"), To: deployment(to, long("server", i)), Port: 80, Scope: "wire", Verdict: "mtls", Connections: record.ByVerdict{MTLS: 1}, First: start, Last: start}
				r.Edges = append(r.Edges, e)
			}
		}
		p := startChromium(t).open(r, view{width: 718, height: 1000}) // an A4 sheet with Chromium's margins
		p.eval(expand, nil)
		p.eval(`document.querySelector("#namespaces tbody button").click()`, nil)
		p.call(p.session, "Emulation.setEmulatedMedia", map[string]any{"media": "print"}, nil)
		var got struct {
			Which, Cells []string
		}
		p.eval(`({
			which: [...document.querySelectorAll("main *")].filter((e) => e.checkVisibility() && !e.closest(".vh, select") && e.getBoundingClientRect().right > innerWidth).map((e) => e.closest("section").id + " " + e.outerHTML.slice(0, 100)),
			cells: [...document.querySelectorAll("#namespaces td:not(:empty)")].map((c) => getComputedStyle(c, "::before").content),
		})`, &got)
		if len(got.Which) > 0 || len(got.Cells) != n {
			t.Errorf("%d namespaces, %d cells; too wide: %q", n, len(got.Cells), got.Which[:min(3, len(got.Which))])
		}
		if wide := strings.Contains(strings.Join(got.Cells, "\n"), "to "+long("namespace", n-1)); wide != (n > maxPrinted) {
			t.Errorf("%d namespaces: the cells have names: %v: %q", n, wide, got.Cells[0])
		}
	}
}

// TestPictureNames: a name that looks like one with a note is not shortened in the picture.
func TestPictureNames(t *testing.T) {
	a := topology.Edge{From: deployment("a", "web (canary)"), To: topology.Workload{Name: "10.0.0.1"}, Port: 1, Scope: "wire", Verdict: "mtls", Connections: record.ByVerdict{MTLS: 1}}
	p := startChromium(t).open(&Report{Edges: []topology.Edge{a}}, views[0])
	var got string
	p.eval(`{
		var drawn = [];
		const fill = CanvasRenderingContext2D.prototype.fillText;
		CanvasRenderingContext2D.prototype.fillText = function (text, ...rest) {
			drawn.push(text);
			fill.call(this, text, ...rest);
		};
	}
	choose(D.edges[0].t); choose(D.edges[0].f); drawn.join("\n")`, &got)
	for _, want := range []string{"a/web (canary)", "10.0.0.1", "10.0.0.1 (no name is known)"} { // the last one is the workload in the middle
		if !slices.Contains(strings.Split(got, "\n"), want) {
			t.Errorf("%s is not in the picture:\n%s", want, got)
		}
	}
}

// TestTimelines: the list of edges whose verdict changed is bounded, and says so.
func TestTimelines(t *testing.T) {
	r := &Report{}
	for i := range 502 {
		r.Edges = append(r.Edges, topology.Edge{From: deployment("a", fmt.Sprint(i)), To: deployment("b", "b"), Port: 1, Scope: "wire", Verdict: "tls", Connections: record.ByVerdict{TLS: 1},
			Changes: []topology.Change{{At: start, Verdict: "mtls"}, {At: start.Add(time.Hour), Verdict: "tls"}}})
	}
	p := startChromium(t).open(r, views[0])
	var got string
	p.eval(`byId("edge").length + " " + document.querySelector("#timeline .hint").innerText`, &got)
	if want := "501 The list has the first 500 of 502 edges whose verdict changed."; !strings.HasPrefix(got, want) {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestPictures: docs has a picture of the page for each view. Update them with -update.
func TestPictures(t *testing.T) {
	const bound = 150_000 // bytes
	if *update {
		c := startChromium(t)
		for _, v := range views {
			p := c.open(small(), v)
			p.eval(expand, nil)
			p.complaints() // wait for the drawing
			b := reduce(t, p.screenshot(fmt.Sprintf(`({x: 0, y: 0, width: innerWidth, height: Math.min(%d, document.documentElement.scrollHeight)})`, map[int]int{1280: 3200, 390: 3000}[v.width])))
			if err := os.WriteFile(fmt.Sprintf("../../docs/report-%v.png", v), b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, v := range views {
		name := fmt.Sprintf("../../docs/report-%v.png", v)
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if x, err := png.DecodeConfig(bytes.NewReader(b)); err != nil || x.Width != v.width || len(b) >= bound {
			t.Errorf("%s: %d bytes, %d pixels wide, %v", name, len(b), x.Width, err)
		}
	}
}

// reduce returns a PNG with the 48 most frequent colors.
func reduce(t *testing.T, b []byte) []byte {
	t.Helper()
	in, err := png.Decode(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	count := map[color.Color]int{}
	for y := in.Bounds().Min.Y; y < in.Bounds().Max.Y; y++ {
		for x := in.Bounds().Min.X; x < in.Bounds().Max.X; x++ {
			count[in.At(x, y)]++
		}
	}
	var palette color.Palette
	for len(palette) < 48 && len(count) > 0 {
		var best color.Color
		for c, n := range count {
			if best == nil || n > count[best] {
				best = c
			}
		}
		palette = append(palette, best)
		delete(count, best)
	}
	out := image.NewPaletted(in.Bounds(), palette)
	draw.Draw(out, in.Bounds(), in, in.Bounds().Min, draw.Src)
	var w bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&w, out); err != nil {
		t.Fatal(err)
	}
	return w.Bytes()
}
