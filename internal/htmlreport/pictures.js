// The pictures: the neighbors of a workload, and the timeline of an edge. It defines choose and chooseEdge.
const { choose, chooseEdge } = (() => {
	const SYMBOLS = { plaintext: "triangle", tls: "path://M0,-5A5,5,0,0,0,0,5Z M0,-5A5,5,0,0,1,0,5L0,4.2A4.2,4.2,0,0,0,0,-4.2Z", encrypted: "rect", failed: "path://M-5,-3L-3,-5L0,-2L3,-5L5,-3L2,0L5,3L3,5L0,2L-3,5L-5,3L-2,0Z", unknown: "emptyCircle", mtls: "circle" };
	// The pictures. Positions come from the page's data; colors from the style.
	const LIGHT = { bg: "#fff", fg: "#000", line: "#888", soft: "#444", plaintext: "#b00020", tls: "#7a4b00", encrypted: "#5b3fa0", failed: "#8a1f5c", unknown: "#444", mtls: "#0a6b2d" };
	let printing = false;
	const palette = () => {
		if (printing) return LIGHT;
		const css = getComputedStyle(document.documentElement);
		return Object.fromEntries(Object.keys(LIGHT).map((k) => [k, css.getPropertyValue("--" + k).trim()]));
	};
	const FONT = { fontFamily: "system-ui, sans-serif", fontSize: 12 };
	const drawn = new Map(); // the chart and its options, by element
	function draw(box, height, label, options) {
		box.hidden = false;
		box.style.height = height + "px";
		box.setAttribute("aria-label", label);
		let d = drawn.get(box);
		if (!d) {
			d = { chart: charts.init(box, null, { renderer: "canvas", useDirtyRect: false }) };
			drawn.set(box, d);
		}
		d.options = options;
		redraw(d);
		return d.chart;
	}
	function redraw(d) {
		d.chart.resize();
		d.chart.setOption({ animation: false, useUTC: true, ...d.options(palette(), d.chart.getWidth()) }, true);
		d.chart.getZr().flush();
	}
	const redrawAll = () => drawn.forEach(redraw);
	matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawAll);
	addEventListener("resize", redrawAll);
	for (const [event, value] of [["beforeprint", true], ["afterprint", false]]) {
		addEventListener(event, () => {
			printing = value;
			redrawAll();
		});
	}

	const peerText = (n) => {
		const e = D.edges[n.e[0]];
		return `${D.verdicts[e.v]} :${e.p}` + (n.e.length > 1 ? ` and ${n.e.length - 1} more` : "");
	};

	// choose draws the neighbors of a workload. It moves the focus there unless stay is set.
	function choose(w, stay) {
		byId("center").value = String(w);
		const N = D.neighbors[w];
		const peers = N.n.filter((n) => n.w !== w);
		const chart = draw(byId("picture"), N.h * 46 + 70, `Clients and servers of ${D.workloads[w]}. The list below has the same content.`, (c, width) => {
			const narrow = width < 600;
			const room = Math.floor((width * 0.34 - 16) / 6.3); // characters beside a node
			const data = N.n.map((n, i) => {
				const v = n.w === w ? -1 : D.edges[n.e[0]].v;
				const color = v < 0 ? c.fg : c[CLASSES[v]];
				return {
					name: String(i), value: [n.x, n.y], symbol: v < 0 ? "roundRect" : SYMBOLS[CLASSES[v]], symbolSize: v < 0 ? 16 : 12,
					itemStyle: { color },
					label: {
						show: true, color: c.fg, ...FONT, lineHeight: narrow ? 13 : 15, backgroundColor: c.bg, padding: v < 0 && !narrow ? [1, 4] : 0,
						position: v < 0 ? "top" : n.x < 50 ? "left" : "right",
						formatter: v >= 0 ? label(n.w, peerText(n), room, narrow) : narrow ? "" : `{b|${safe(shorten(D.workloads[w], Math.floor(width / 7)))}}`,
						rich: {
							b: { ...FONT, color: c.fg, fontWeight: "bold" },
							n: { ...FONT, color: c.fg, fontSize: narrow ? 11 : 12 }, v: { ...FONT, color, fontSize: narrow ? 10 : 11 },
						},
					},
				};
			});
			const center = String(N.n.length - 1);
			return {
				xAxis: { show: false, min: 0, max: 100 }, yAxis: { show: false, inverse: true, min: -0.5, max: N.h - 0.5 },
				grid: { left: 0, right: 0, top: 40, bottom: 10 },
				series: [{
					type: "graph", coordinateSystem: "cartesian2d", roam: false, silent: false, cursor: "pointer", data, edgeSymbol: ["none", "arrow"], edgeSymbolSize: 8,
					emphasis: { disabled: true },
					edges: peers.map((n) => {
						const v = D.edges[n.e[0]].v;
						const id = String(N.n.indexOf(n));
						return {
							source: n.x < 50 ? id : center, target: n.x < 50 ? center : id,
							lineStyle: { color: c[CLASSES[v]], width: v === 0 ? 3 : 1.5, type: v === 0 || CLASSES[v] === "mtls" ? "solid" : "dashed", opacity: 1 },
						};
					}),
				}],
			};
		});
		chart.off("click");
		chart.on("click", (event) => {
			if (event.dataType === "node") choose(N.n[event.dataIndex].w);
		});
		const box = byId("peers");
		box.replaceChildren();
		for (const [title, left, side] of [["Clients", N.c, (n) => n.x < 50], ["Servers", N.s, (n) => n.x > 50]]) {
			const list = make("ul");
			for (const n of peers.filter(side)) {
				const li = make("li");
				li.append(named(D.workloads[n.w]), ": ");
				n.e.forEach((i, k) => li.append(k ? ", " : "", verdict(D.edges[i].v), ` port ${D.edges[i].p}`));
				const b = button("Its neighbors", () => choose(n.w));
				b.append(make("span", `: ${D.workloads[n.w]}`, "vh"));
				li.append(b);
				list.append(li);
			}
			const heading = make("h3", title + " of ");
			heading.append(named(D.workloads[w]));
			box.append(heading, list.firstChild ? list : make("p", "None was seen."));
			if (left) {
				const shown = new Set(peers.filter(side).flatMap((n) => n.e));
				const rest = D.edges.filter((e, i) => (title === "Clients" ? e.t : e.f) === w && e.f !== e.t && !shown.has(i));
				box.append(make("p", `${left} more are only in the table. Their edges: ${tally(rest)}.`));
			}
		}
		if (!stay) go("neighbors");
	}
	// shorten removes the middle of a text that has more than n characters.
	const shorten = (s, n) => (s.length <= n ? s : s.slice(0, Math.ceil(n / 2) - 1) + "\u2026" + s.slice(s.length - Math.floor(n / 2)));
	// label returns the lines beside a node, without the note after a name. On a narrow page the namespace has a line of its own.
	const label = (w, verdict, room, narrow) => {
		const name = D.bare?.[w] ?? D.workloads[w];
		const slash = name.indexOf("/") + 1;
		const names = narrow && slash ? [name.slice(0, slash), name.slice(slash)] : [name];
		return [...names.map((s) => `{n|${safe(shorten(s, room))}}`), `{v|${safe(shorten(verdict, room))}}`].join("\n");
	};
	// safe returns a text without the characters that end a fragment of a rich label.
	const safe = (s) => s.replace(/[{}|]/g, (c) => ({ "{": "\uFF5B", "}": "\uFF5D", "|": "\uFF5C" })[c]);

	// chooseEdge draws the timeline of an edge. It moves the focus there unless stay is set.
	function chooseEdge(i, stay) {
		const e = D.edges[i];
		const select = byId("edge");
		if (![...select.options].some((o) => o.value === String(i))) select.add(option(i, edgeName(e)));
		select.value = String(i);
		const list = byId("changes");
		list.replaceChildren();
		const c = e.c ?? [];
		if (c.length === 0) {
			byId("chart").hidden = true;
			list.append(make("p", D.incomplete ? `The times of ${edgeName(e)} are left out of this page, which is bounded in size.` : `No times are known of ${edgeName(e)}.`));
			if (!stay) go("timeline");
			return;
		}
		const end = Math.max(e.l, c.at(-1)[0]);
		draw(byId("chart"), 260, `Verdicts of ${edgeName(e)} by time. The list below has the same content.`, (color, width) => ({
			xAxis: {
				type: "time", min: c[0][0] * 1000, max: Math.max(end, c[0][0] + 1) * 1000, splitNumber: width < 600 ? 2 : 6,
				axisLabel: { ...FONT, color: color.fg, hideOverlap: true }, axisLine: { lineStyle: { color: color.line } },
			},
			yAxis: {
				type: "category", inverse: true, data: D.verdicts, axisLabel: { ...FONT, color: color.fg }, axisLine: { lineStyle: { color: color.line } },
				splitLine: { show: true, lineStyle: { color: color.line, opacity: 0.4 } },
			},
			grid: { left: 90, right: 30, top: 20, bottom: 30 },
			series: [{
				type: "line", silent: true, lineStyle: { color: color.fg, width: 2 },
				data: [
					...c.flatMap(([at, v], k) => [
						...(k ? [{ value: [at * 1000, c[k - 1][1]], symbol: "none" }] : []), // the earlier verdict lasts until now
						{ value: [at * 1000, v], symbol: SYMBOLS[CLASSES[v]], symbolSize: 12, itemStyle: { color: color[CLASSES[v]] } },
					]),
					{ value: [end * 1000, c.at(-1)[1]], symbol: "none" },
				],
			}],
		}));
		const heading = make("h3");
		heading.append(named(edgeName(e)));
		const ol = make("ol");
		for (const [at, v] of c) {
			const li = make("li", utc(at) + " UTC: ");
			li.append(verdict(v));
			ol.append(li);
		}
		list.append(heading, ol, make("p", `Latest connection: ${e.l ? utc(e.l) + " UTC" : "not known"}.`));
		if (!stay) go("timeline");
	}

	const option = (value, text) => {
		const o = make("option", text);
		o.value = String(value);
		return o;
	};
	if (byId("table")) {
		D.groups.map((g, i) => [g, i]).sort((a, b) => (a[0] < b[0] ? -1 : 1)).forEach(([g, gi]) => {
			const group = make("optgroup");
			group.label = g;
			const members = D.workloads.map((w, i) => [w, i]).filter(([, i]) => D.groupOf[i] === gi).sort((a, b) => (a[0] < b[0] ? -1 : 1));
			group.append(...members.map(([w, i]) => option(i, w)));
			byId("center").append(group);
		});
		const changed = D.edges.map((e, i) => i).filter((i) => (D.edges[i].c ?? []).length > 1);
		const most = 500;
		for (const i of changed.slice(0, most)) byId("edge").add(option(i, edgeName(D.edges[i])));
		if (changed.length > most) byId("bound").textContent = `first ${most} of ${changed.length} `;
		byId("center").addEventListener("change", (event) => event.target.value && choose(Number(event.target.value), true));
		byId("edge").addEventListener("change", (event) => event.target.value && chooseEdge(Number(event.target.value), true));
	}
	return { choose, chooseEdge };
})();
