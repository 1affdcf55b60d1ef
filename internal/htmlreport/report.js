// The table of edges and the matrices.
(() => {
	const PAGE = 50; // rows that are shown at first
	document.documentElement.classList.add("scripted");

	// The table of edges: filter, order, rows shown.
	const table = byId("table");
	const rows = table ? [...table.tBodies[0].rows] : [];
	const state = { words: [], verdicts: new Set(), only: false, pair: null, limit: PAGE };
	let order = rows.map((_, i) => i);
	let texts = null; // of rows, in lower case
	let detail = null; // the row with the details of another row

	const matches = (i) => {
		const e = D.edges[i];
		if (state.verdicts.size && !state.verdicts.has(e.v)) return false;
		if (state.only && !rows[i].cells[8].firstChild) return false;
		if (state.pair && !state.pair.test(e)) return false;
		return state.words.every((w) => texts[i].includes(w));
	};

	function apply() {
		if (!table) return;
		texts ??= rows.map((r) => r.textContent.toLowerCase());
		closeDetail();
		const matching = order.filter(matches);
		const found = matching.length;
		const shown = Math.min(found, state.limit);
		table.tBodies[0].replaceChildren(...matching.slice(0, shown).map(withButton)); // few rows are quick to lay out
		byId("shown").textContent = `Edges that match: ${found} of ${rows.length}` + (shown < found ? `; the first ${shown} are shown.` : ".");
		const pages = byId("pages");
		pages.replaceChildren();
		if (shown < found) {
			pages.append(button(`Show ${Math.min(PAGE, found - shown)} more`, () => more(PAGE)), " ", button(`Show all ${found}`, () => more(found)));
		}
	}
	function more(n) {
		const first = order.filter(matches)[state.limit];
		state.limit += n;
		apply();
		rows[first].querySelector("button").focus();
	}
	function filter(change) {
		Object.assign(state, change, { limit: PAGE });
		const pair = byId("pair");
		pair.hidden = !state.pair;
		pair.replaceChildren();
		if (state.pair) {
			pair.append("Only ", named(state.pair.from), " to ", named(state.pair.to), " ", button("Remove this filter", () => {
				filter({ pair: null });
				byId("text").focus();
			}));
		}
		apply();
	}
	const pairOf = (from, to, test) => ({ pair: { from, to, test } });

	function sort(column, th) {
		const descending = th.getAttribute("aria-sort") === "ascending";
		for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
		th.setAttribute("aria-sort", descending ? "descending" : "ascending");
		const e = D.edges;
		const number = { 2: (i) => e[i].p, 3: (i) => e[i].v, 6: (i) => e[i].n, 7: (i) => e[i].l }[column];
		const text = number ? null : rows.map((r) => r.cells[column].textContent);
		const sign = descending ? -1 : 1;
		const compare = number ? (a, b) => number(a) - number(b) : (a, b) => (text[a] < text[b] ? -1 : text[a] > text[b] ? 1 : 0);
		order = rows.map((_, i) => i).sort((a, b) => sign * compare(a, b) || a - b);
		state.limit = PAGE;
		apply();
	}

	// withButton returns a row, which gets its button when it is first shown.
	function withButton(i) {
		if (rows[i].dataset.button) return rows[i];
		rows[i].dataset.button = "1";
		const b = button("Details", () => toggleDetail(i, b));
		b.append(make("span", ` of ${edgeName(D.edges[i])}`, "vh"));
		b.setAttribute("aria-expanded", "false");
		rows[i].cells[3].append(" ", b);
		return rows[i];
	}
	function closeDetail() {
		detail?.row.remove();
		detail?.button.setAttribute("aria-expanded", "false");
		detail = null;
	}
	function toggleDetail(i, b) {
		const again = detail?.button === b;
		closeDetail();
		if (again) return;
		const e = D.edges[i];
		const row = make("tr", undefined, "detail");
		const td = row.insertCell();
		td.colSpan = 9;
		const list = make("ul");
		for (const n of rows[i].cells[5].querySelector("small")?.textContent.match(/\d+/g) ?? []) {
			list.append(make("li", "Reason: " + document.querySelector(`.reasons li:nth-child(${n})`).textContent + "."));
		}
		for (const d of e.d ?? []) list.append(make("li", d));
		td.append(list, button("Picture of the client", () => choose(e.f)), button("Picture of the server", () => choose(e.t)), button("Timeline", () => chooseEdge(i)));
		rows[i].after(row);
		b.setAttribute("aria-expanded", "true");
		detail = { row, button: b };
	}

	if (table) {
		[...table.tHead.rows[0].cells].forEach((th, column) => {
			const text = th.textContent;
			th.replaceChildren(button(text, () => sort(column, th)));
		});
		const box = byId("verdicts");
		CLASSES.forEach((_, v) => {
			if (!D.edges.some((e) => e.v === v)) return;
			const label = make("label", undefined, "check");
			const input = make("input");
			input.type = "checkbox";
			input.addEventListener("change", () => {
				state.verdicts[input.checked ? "add" : "delete"](v);
				filter({});
			});
			label.append(input, " ", verdict(v));
			box.append(label);
		});
		byId("filter").addEventListener("submit", (event) => event.preventDefault());
		byId("text").addEventListener("input", (event) => filter({ words: event.target.value.toLowerCase().split(/\s+/).filter(Boolean) }));
		byId("only").addEventListener("change", (event) => filter({ only: event.target.checked }));
		apply();
	}

	// The matrices. The one of namespaces is in the page; a cell of it opens the one of its workloads.
	const namespaces = byId("namespaces");
	if (namespaces) {
		const columns = [...namespaces.tHead.rows[0].cells].map((c) => c.textContent);
		namespaces.classList.toggle("dense", columns.length > 12);
		for (const row of namespaces.tBodies[0].rows) {
			const from = row.cells[0].textContent;
			[...row.cells].forEach((td, i) => {
				if (i === 0 || !td.firstChild) return;
				const b = button("", () => showWorkloads(from, columns[i], b));
				b.setAttribute("aria-pressed", "false");
				b.append(make("span", `${from} to ${columns[i]}: `, "vh"), ...td.childNodes);
				td.append(b);
			});
		}
	}

	// A single pair of namespaces is open from the start if it has few workloads, as in a capture without names.
	const pairs = namespaces?.querySelectorAll("button");
	if (pairs?.length === 1 && D.workloads.length <= 24) showWorkloads(namespaces.tBodies[0].rows[0].cells[0].textContent, namespaces.tHead.rows[0].cells[1].textContent, pairs[0], true);

	// showWorkloads shows the matrix of the workloads of two namespaces. It moves the focus there unless stay is set.
	function showWorkloads(from, to, pressed, stay) {
		for (const b of namespaces.querySelectorAll("[aria-pressed=true]")) b.setAttribute("aria-pressed", "false");
		pressed.setAttribute("aria-pressed", "true");
		const f = D.groups.indexOf(from);
		const t = D.groups.indexOf(to);
		const test = (e) => !e.o && D.groupOf[e.f] === f && D.groupOf[e.t] === t;
		const edges = D.edges.filter(test); // the weakest first
		const limit = 60;
		const clients = [...new Set(edges.map((e) => e.f))];
		const servers = [...new Set(edges.map((e) => e.t))];
		const cells = new Map();
		for (const e of edges) {
			const key = e.f + "," + e.t;
			const c = cells.get(key) ?? { v: e.v, weakest: 0, all: 0 };
			c.all++;
			if (c.v === e.v) c.weakest++;
			cells.set(key, c);
		}
		const box = byId("workloads");
		const heading = make("h3");
		heading.id = "workloads-h";
		heading.tabIndex = -1;
		heading.append("Workloads of ", named(from), " to ", named(to));
		const small = (w) => D.workloads[w].slice(D.workloads[w].startsWith(D.groups[D.groupOf[w]] + "/") ? D.groups[D.groupOf[w]].length + 1 : 0).replace(/ \(no name is known\)$/, "");
		const grid = make("table", undefined, "matrix pairs");
		const head = grid.createTHead().insertRow();
		head.insertCell();
		for (const s of servers.slice(0, limit)) {
			const th = make("th");
			th.scope = "col";
			th.append(named(small(s)));
			head.append(th);
		}
		grid.classList.toggle("dense", servers.length > 12);
		grid.classList.toggle("wide", Math.min(servers.length, limit) > D.wide);
		const body = grid.createTBody();
		for (const c of clients.slice(0, limit)) {
			const row = body.insertRow();
			const th = make("th");
			th.scope = "row";
			th.append(named(small(c)));
			row.append(th);
			for (const s of servers.slice(0, limit)) {
				const td = row.insertCell();
				const x = cells.get(c + "," + s);
				if (!x) continue;
				td.dataset.to = small(s);
				const b = button("", () => {
					filter(pairOf(D.workloads[c], D.workloads[s], (e) => !e.o && e.f === c && e.t === s));
					go("edges");
				});
				b.append(make("span", `${D.workloads[c]} to ${D.workloads[s]}: `, "vh"), verdict(x.v), make("span", `${x.weakest} of ${x.all}`, "n"));
				td.append(b);
			}
		}
		const scroll = make("div", undefined, "scroll");
		scroll.setAttribute("role", "region");
		scroll.setAttribute("aria-labelledby", heading.id);
		scroll.tabIndex = 0;
		scroll.append(grid);
		const left = Math.max(0, clients.length - limit) + Math.max(0, servers.length - limit);
		box.replaceChildren(heading, scroll, button("Show these edges in the table", () => {
			filter(pairOf(from, to, test));
			go("edges");
		}));
		if (left) {
			const shownFrom = new Set(clients.slice(0, limit));
			const shownTo = new Set(servers.slice(0, limit));
			const rest = edges.filter((e) => !shownFrom.has(e.f) || !shownTo.has(e.t));
			box.append(make("p", `${left} more workloads are only in the table. Their edges: ${tally(rest)}.`));
		}
		box.hidden = false;
		if (!stay) heading.focus();
	}

	// In print all edges that match are shown, and all findings are open.
	let limit = null;
	let closed = [];
	addEventListener("beforeprint", () => {
		limit ??= state.limit;
		state.limit = Infinity;
		apply();
		closed = [...closed, ...document.querySelectorAll("details:not([open])")];
		for (const d of closed) d.open = true;
	});
	addEventListener("afterprint", () => {
		state.limit = limit ?? state.limit;
		limit = null;
		apply();
		for (const d of closed) d.open = false;
		closed = [];
	});
})();
