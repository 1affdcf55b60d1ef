"use strict";
// What both parts of the script share: the page's data, and functions that create elements. Texts are always set as text, never as HTML.
const D = JSON.parse(document.getElementById("data").textContent);
const CLASSES = D.classes; // of verdicts, the weakest first
const byId = (id) => document.getElementById(id);
const make = (tag, text, className) => {
	const e = document.createElement(tag);
	if (text !== undefined) e.textContent = text;
	if (className) e.className = className;
	return e;
};
const named = (text) => make("bdi", text);
const button = (text, action) => {
	const b = make("button", text);
	b.type = "button";
	b.addEventListener("click", action);
	return b;
};
const verdict = (v) => make("span", D.verdicts[v], "v " + CLASSES[v]);
const edgeName = (e) => `${D.workloads[e.f]} to ${D.workloads[e.t]} port ${e.p}`;
// tally returns the numbers of edges for each verdict in words.
const tally = (edges) => D.verdicts.map((label, v) => [label, edges.filter((e) => e.v === v).length]).filter(([, n]) => n).map(([label, n]) => `${n} ${label}`).join(", ");
const utc = (s) => new Date(s * 1000).toISOString().slice(0, 19).replace("T", " ");
const go = (id) => {
	byId(id).focus({ preventScroll: true });
	byId(id).scrollIntoView();
};
