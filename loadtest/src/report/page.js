"use strict";
// Draws the reports that stand in this page as JSON. No libraries, no network: the page must work from a disk in ten years.

const reports = JSON.parse(document.getElementById("data").textContent);
const COLOURS = 8;

// --- text ---------------------------------------------------------------------------------------------------------------

const digits = value => {
  const size = Math.abs(value);
  return value.toFixed(size >= 99.95 || size === 0 ? 0 : size >= 9.995 ? 1 : size >= 0.9995 ? 2 : 3);
};
const time = ns =>
  ns >= 1e9 ? digits(ns / 1e9) + " s" : ns >= 1e6 ? digits(ns / 1e6) + " ms" : ns >= 1e3 ? digits(ns / 1e3) + " µs" : Math.round(ns) + " ns";
const bytes = b =>
  Math.abs(b) >= 1e9 ? digits(b / 1e9) + " GB" : Math.abs(b) >= 1e6 ? digits(b / 1e6) + " MB" : Math.abs(b) >= 1e4 ? digits(b / 1e3) + " kB" : Math.round(b) + " B";
const number = n => Math.round(n).toLocaleString("en-US");
const short = n => (n >= 1e6 ? digits(n / 1e6) + " M" : n >= 1e4 ? digits(n / 1e3) + " k" : n >= 100 ? number(n) : digits(n));
const percent = share => digits(share * 100) + " %";
const tick = (value, format) => format(value).replace(/\.0+(?= |$)/, "").replace(/(\.\d*?)0+(?= |$)/, "$1");

// --- elements -----------------------------------------------------------------------------------------------------------

function element(tag, attributes = {}, ...children) {
  const svg = ["svg", "path", "line", "text", "rect", "g", "circle"].includes(tag);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter(child => child !== undefined && child !== null));
  return made;
}
const colour = index => `var(--c${index % COLOURS})`;
const dot = index => element("span", { class: "dot", style: `background:${colour(index)}` });

// --- groups: scenario, then label; several runs of one label are one row with a spread ------------------------------------

const median = values => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};
const titleOf = report => report.label || report.name;
const perSecond = report => (report.counts.delivered_window * 1e9) / Math.max(1, report.window_ns);

function groupsOf(all) {
  const labels = [...new Set(all.map(titleOf))];
  const scenarios = new Map();
  for (const report of all) {
    if (!scenarios.has(report.name)) scenarios.set(report.name, new Map());
    const rows = scenarios.get(report.name);
    const label = titleOf(report);
    if (!rows.has(label)) rows.set(label, { label, colour: labels.indexOf(label), runs: [] });
    rows.get(label).runs.push(report);
  }
  return [...scenarios].map(([name, rows]) => {
    for (const row of rows.values()) {
      // The run to draw is the one in the middle.
      const key = run => run.times[run.main]?.p99_ns ?? 0;
      row.run = [...row.runs].sort((a, b) => key(a) - key(b))[Math.floor(row.runs.length / 2)];
    }
    return { name, rows: [...rows.values()] };
  });
}

// --- a plot with lines --------------------------------------------------------------------------------------------------

const WIDTH = 560, HEIGHT = 250, LEFT = 58, RIGHT = 12, TOP = 10, BOTTOM = 30;

function niceTicks(least, most, wanted) {
  const step = 10 ** Math.floor(Math.log10((most - least) / wanted || 1));
  const factor = [1, 2, 5, 10].find(f => (most - least) / (step * f) <= wanted) ?? 10;
  const ticks = [];
  for (let at = Math.ceil(least / (step * factor)) * step * factor; at <= most * 1.0001; at += step * factor) ticks.push(at);
  return ticks;
}
function logTicks(least, most) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(least)); power <= Math.ceil(Math.log10(most)); power++)
    for (const factor of most / least > 300 ? [1] : [1, 2, 5]) {
      const at = factor * 10 ** power;
      if (at >= least * 0.999 && at <= most * 1.001) ticks.push(at);
    }
  return ticks;
}

// `lines`: {label, colour, points: [[x, y]], dash, width}. `x`, `y`: {log, format, ticks, least, label}.
function plot(lines, x, y, height = HEIGHT) {
  lines = lines.filter(line => line.points.length > 0);
  const svg = element("svg", { class: "plot", viewBox: `0 0 ${WIDTH} ${height}`, role: "img" });
  if (!lines.length) return svg;
  const all = lines.flatMap(line => line.points);
  const xs = all.map(p => p[0]), ys = all.map(p => p[1]).filter(v => !y.log || v > 0);
  const xLeast = x.least ?? Math.min(...xs), xMost = Math.max(...xs, xLeast + 1e-9);
  let yLeast = y.log ? Math.min(...ys) * 0.85 : 0, yMost = Math.max(...ys, y.most ?? 0) * (y.log ? 1.2 : 1.08) || 1;
  if (!y.log && Math.min(...ys) > 0 && y.close) yLeast = Math.min(...ys) * 0.9;
  const right = WIDTH - RIGHT, bottom = height - BOTTOM;
  const placeX = v => LEFT + ((right - LEFT) * (v - xLeast)) / (xMost - xLeast || 1);
  const scale = v => (y.log ? Math.log(Math.max(v, yLeast)) : v);
  const placeY = v => bottom - ((bottom - TOP) * (scale(v) - scale(yLeast))) / (scale(yMost) - scale(yLeast) || 1);
  for (const at of y.log ? logTicks(yLeast, yMost) : niceTicks(yLeast, yMost, 5)) {
    svg.append(element("line", { class: "gridline", x1: LEFT, x2: right, y1: placeY(at), y2: placeY(at) }));
    svg.append(element("text", { x: LEFT - 7, y: placeY(at) + 4, "text-anchor": "end" }, tick(at, y.format)));
  }
  const xTicks = x.ticks ? x.ticks.filter(t => t[0] <= xMost + 1e-6) : niceTicks(xLeast, xMost, 7).map(v => [v, tick(v, x.format)]);
  for (const [at, text] of xTicks) {
    svg.append(element("line", { class: "gridline", x1: placeX(at), x2: placeX(at), y1: TOP, y2: bottom }));
    const last = at === xTicks.at(-1)[0] && x.unit ? " " + x.unit : "";
    // A long unit at the right edge grows to the left.
    const crowded = last.length > 3 || (placeX(at) > right - 24 && text.length > 5);
    const [edge, anchor] = crowded ? [Math.min(placeX(at) + 12, right), "end"] : [placeX(at), "middle"];
    svg.append(element("text", { x: edge, y: bottom + 18, "text-anchor": anchor }, text + last));
  }
  svg.append(element("line", { class: "axis", x1: LEFT, x2: right, y1: bottom, y2: bottom }));
  for (const line of lines) {
    const path = line.points.map(([px, py], i) => `${i ? "L" : "M"}${placeX(px).toFixed(1)} ${placeY(py).toFixed(1)}`).join("");
    if (line.fill)
      svg.append(element("path", { d: `${path}L${placeX(line.points.at(-1)[0])} ${bottom}L${placeX(line.points[0][0])} ${bottom}Z`, fill: line.colour, opacity: 0.13 }));
    svg.append(element("path", { d: path, fill: "none", stroke: line.colour, "stroke-width": line.width ?? 2, "stroke-dasharray": line.dash, "stroke-linejoin": "round", "stroke-linecap": "round" }));
  }
  hover(svg, lines, x, y, placeX, placeY, bottom, { xLeast, xMost, right });
  return svg;
}

function hover(svg, lines, x, y, placeX, placeY, bottom, { xLeast, xMost, right }) {
  const tip = document.getElementById("tip");
  const cross = element("line", { class: "cross", y1: TOP, y2: bottom, visibility: "hidden" });
  const marks = lines.map(line => element("circle", { r: 3.5, fill: line.colour, visibility: "hidden" }));
  svg.append(cross, ...marks);
  const hide = () => {
    tip.style.display = "none";
    for (const one of [cross, ...marks]) one.setAttribute("visibility", "hidden");
  };
  svg.addEventListener("mouseleave", hide);
  svg.addEventListener("mousemove", event => {
    const box = svg.getBoundingClientRect();
    const inside = ((event.clientX - box.left) / box.width) * WIDTH;
    if (inside < LEFT - 4 || inside > right + 4) return hide();
    const wanted = xLeast + ((inside - LEFT) / (right - LEFT)) * (xMost - xLeast);
    const nearest = line => line.points.reduce((best, p) => (Math.abs(p[0] - wanted) < Math.abs(best[0] - wanted) ? p : best));
    const found = lines.map(nearest);
    cross.setAttribute("x1", placeX(wanted));
    cross.setAttribute("x2", placeX(wanted));
    cross.setAttribute("visibility", "visible");
    tip.replaceChildren(element("div", { class: "soft" }, x.tip ? x.tip(wanted) : tick(wanted, x.format)));
    lines.forEach((line, i) => {
      marks[i].setAttribute("cx", placeX(found[i][0]));
      marks[i].setAttribute("cy", placeY(found[i][1]));
      marks[i].setAttribute("visibility", "visible");
      const swatch = element("span", { class: "dot", style: `background:${line.colour}` });
      tip.append(element("div", { class: "row" }, swatch, line.label, element("b", {}, y.format(found[i][1]))));
    });
    tip.style.display = "block";
    const flip = event.clientX > innerWidth - 280;
    tip.style.left = flip ? "auto" : event.clientX + 16 + "px";
    tip.style.right = flip ? innerWidth - event.clientX + 16 + "px" : "auto";
    tip.style.top = Math.min(event.clientY + 12, innerHeight - tip.offsetHeight - 8) + "px";
  });
}

function card(title, body, keys = [], extra) {
  const sample = key =>
    element("span", {}, element("svg", { width: 22, height: 8 }, element("line", { x1: 1, x2: 21, y1: 4, y2: 4, stroke: key.colour ?? "currentColor", "stroke-width": key.width ?? 2, "stroke-dasharray": key.dash })), key.text);
  return element("div", { class: "card" }, element("div", { class: "head" }, element("h3", {}, title), element("div", { class: "keys" }, ...keys.map(sample), extra)), body);
}

// --- what is plotted ----------------------------------------------------------------------------------------------------

const NINES = [[0, "0"], [1, "90 %"], [2, "99 %"], [3, "99.9 %"], [4, "99.99 %"], [5, "99.999 %"], [6, "99.9999 %"]];
const asNines = quantile => -Math.log10(Math.max(1 - quantile, 1e-9));
const seconds = { unit: "s", format: v => digits(v), tip: v => digits(Math.max(0, v)) + " s into the window", least: 0 };
const mid = index => index + 0.5;

function byPercentile(rows, metric) {
  const lines = rows.map(row => ({
    label: row.label, colour: colour(row.colour),
    points: (row.run.times[metric]?.curve ?? []).map(([q, ns]) => [asNines(q), ns]),
  }));
  const axis = { ticks: [[0, "0"], [0.301, "50 %"], ...NINES.slice(1)], least: 0, tip: v => `${tick((1 - 10 ** -v) * 100, n => n.toFixed(4))} % are faster` };
  return plot(lines, axis, { log: true, format: time });
}

function overTime(rows, value, y, fill = false, at = mid) {
  const lines = rows.flatMap(row => value(row).map(part => ({
    label: part.label ?? row.label, colour: part.colour ?? colour(row.colour), dash: part.dash, width: part.width, fill: fill && rows.length === 1 && part.fill,
    points: part.values.map((v, i) => [at(i), v]),
  })));
  return plot(lines, seconds, y);
}
// A last second that is shorter would look like less.
const whole = (run, list) => list.slice(0, Math.floor(run.window_ns / 1e9 + 0.05));
const shares = (run, list) => whole(run, list).map(used => (used.user_ns + used.system_ns) / 1e9);

// Memory that stays where it is needs no plot.
const moves = list => list?.length && Math.max(...list) > 1.03 * Math.min(...list);

function latencyOverTime(rows) {
  if (rows.length === 1) {
    const run = rows[0].run;
    const part = (key, label, more) => ({ label, values: whole(run, run.seconds).map(s => s[key]), ...more });
    const parts = () => [part("max_ns", "max", { dash: "2 3", width: 1.5, colour: "var(--soft)" }), part("p99_ns", "p99", { colour: colour(1) }), part("p50_ns", "p50", { colour: colour(0) })];
    return card("Latency over time", overTime(rows, parts, { log: true, format: time }), [
      { text: "p50", colour: colour(0) }, { text: "p99", colour: colour(1) }, { text: "max", colour: "var(--soft)", dash: "2 3", width: 1.5 }]);
  }
  const holder = element("div");
  const draw = key => holder.replaceChildren(overTime(rows, row => [{ values: whole(row.run, row.run.seconds).map(s => s[key]) }], { log: true, format: time }));
  const choice = element("select", { "aria-label": "which latency", onchange: event => draw(event.target.value) },
    ...[["p99_ns", "p99"], ["p50_ns", "p50"], ["max_ns", "max"]].map(([value, text]) => element("option", { value }, text)));
  draw("p99_ns");
  return card("Latency over time", holder, [], choice);
}

function cpuOverTime(rows) {
  const parts = row => {
    const list = [];
    const { run } = row;
    if (run.server) list.push({ label: rows.length > 1 ? row.label : "server", values: shares(run, run.server.seconds), fill: true });
    if (rows.length === 1) {
      list.push({ label: "client", values: shares(run, run.client.seconds), colour: "var(--soft)", width: 1.5 });
    }
    return list;
  };
  const keys = rows.length > 1 ? [] : [{ text: "server", colour: colour(rows[0].colour) }, { text: "client", colour: "var(--soft)", width: 1.5 }];
  return card(rows.length > 1 ? "Server CPU over time" : "CPU over time", overTime(rows, parts, { format: v => percent(v), most: 0.02 }, true), keys);
}

function bars(title, rows, value, format, floor) {
  const values = rows.map(row => row.runs.map(value).filter(v => v !== undefined && v !== null && !Number.isNaN(v)));
  if (values.every(list => !list.length)) return undefined;
  const most = Math.max(...values.flat(), floor ?? 0) || 1;
  const grid = element("div", { class: "bars" });
  rows.forEach((row, i) => {
    if (!values[i].length) return;
    const middle = median(values[i]), least = Math.min(...values[i]), top = Math.max(...values[i]);
    const track = element("div", { class: "track" }, element("div", { class: "bar", style: `width:${(Math.max(0, middle) / most) * 100}%;background:${colour(row.colour)}` }));
    if (values[i].length > 1) track.append(element("div", { class: "whisker", style: `left:${(Math.max(0, least) / most) * 100}%;width:${((top - Math.max(0, least)) / most) * 100}%` }));
    if (floor) track.append(element("div", { class: "floor", style: `left:calc(${(floor / most) * 100}% - 1px)`, title: "the kernel's floor" }));
    const failed = row.runs.some(run => run.problems.length);
    // Each run has its own floor, measured right after it.
    const ratios = floor ? row.runs.map(run => run.floor?.ratio).filter(Boolean) : [];
    const times = ratios.length ? ` ${digits(median(ratios))} ×` : "";
    grid.append(element("div", {}, row.label, failed ? element("span", { title: "a run of this failed", style: "color:var(--bad)" }, " ✗") : ""), track,
      element("div", { class: "value" }, format(middle), element("span", { class: "soft" }, times)));
  });
  const spread = rows.some((_, i) => values[i].length > 1) ? [{ text: "least to most", width: 2 }] : [];
  return card(title, grid, floor ? [...spread, { text: `kernel's floor ${time(floor)}`, width: 4 }] : spread);
}

// --- tables -------------------------------------------------------------------------------------------------------------

function table(head, rows) {
  return element("div", { class: "scroll" }, element("table", {}, element("tr", {}, ...head.map(h => element("th", {}, h))),
    ...rows.map(cells => element("tr", {}, ...cells.map(cell => element("td", {}, cell))))));
}
const ORDER = ["delivery", "overdue", "round_trip", "answer", "connect", "join", "ready", "history", "seen", "send_lag"];

function timesTable(rows) {
  const names = ORDER.filter(name => rows.some(row => row.run.times[name]));
  const cells = names.flatMap(name => rows.filter(row => row.run.times[name]).map((row, i) => {
    const t = row.run.times[name];
    const first = rows.length > 1 ? element("span", {}, dot(row.colour), `${row.label}: ${t.title}`) : t.title;
    return [first, ...["p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns"].map(key => time(t[key])), number(t.count)];
  }));
  return table(["time", "p50", "p90", "p99", "p99.9", "max", "count"], cells);
}

function countsTable(rows) {
  const some = (run, text) => (run.counts.sent ? text : "–");
  const lines = [
    ["connections", run => number(run.connections)],
    ["sent in the window", run => some(run, number(run.counts.sent_window))],
    ["delivered in the window", run => some(run, number(run.counts.delivered_window))],
    ["delivered per second", run => some(run, number(perSecond(run)))],
    ["bytes per delivery", run => (run.counts.delivered_window ? Math.round(run.counts.message_bytes_window / run.counts.delivered_window) + " B" : "–")],
    ["lost, duplicate, out of order", run => some(run, [run.counts.lost, run.counts.duplicate, run.counts.reordered + run.counts.room_order].map(number).join(", "))],
    ["server CPU per delivery", run => (run.server && run.counts.delivered_window ? time(run.server.cpu_per_delivery_ns) : "–")],
    ["… as a multiple of the floor", run => (run.floor ? digits(run.floor.ratio) + " ×" : "–")],
    ["server CPU, user / system", run => (run.server ? `${percent(run.server.used.user_ns / run.window_ns)} / ${percent(run.server.used.system_ns / run.window_ns)}` : "–")],
    ["server CPU per connection made", run => (run.server ? time(run.server.cpu_per_connection_ns) : "–")],
    ["server context switches", run => (run.server ? number(run.server.used.context_switches) : "–")],
    ["server's own memory, connected", run => (run.server ? bytes(run.server.memory.connected_own_bytes) : "–")],
    ["server's own memory, most", run => (run.server ? bytes(run.server.memory.most_own_bytes) : "–")],
    ["memory per connection", run => (run.server?.bytes_per_conn > 0 ? bytes(run.server.bytes_per_conn) : "–")],
    ["client CPU, busiest worker", run => percent(run.client.busiest)],
  ];
  const special = [...new Set(rows.flatMap(row => row.run.figures.map(f => f.name)))];
  const unit = f => (f.unit === "ns" ? time(f.value) : f.unit === "bytes" ? bytes(f.value) : `${digits(f.value)} ${f.unit}`);
  for (const name of special) lines.push([name, run => { const f = run.figures.find(f => f.name === name); return f ? unit(f) : "–"; }]);
  const shown = lines.map(([name, value]) => [name, ...rows.map(row => value(row.run))]).filter(cells => cells.slice(1).some(cell => cell !== "–"));
  return table(["", ...rows.map(row => row.label)], shown);
}

// --- sections -----------------------------------------------------------------------------------------------------------

function verdicts(rows) {
  const list = [];
  const failed = rows.filter(row => row.runs.some(run => run.problems.length));
  const checked = rows.some(row => row.run.counts.delivered);
  if (!failed.length) {
    const runs = rows.reduce((sum, row) => sum + row.runs.length, 0);
    const refused = rows.some(row => row.runs.some(run => Object.keys(run.counts.refused).length));
    const what = checked ? `Every message${refused ? " that was not refused" : ""} arrived once and in order` : "Nothing went wrong";
    list.push(element("div", { class: "verdict good" }, `✓ ${what}${runs > 1 ? ` in all ${runs} runs` : ""}.`));
  }
  for (const row of failed) {
    const problems = [...new Set(row.runs.flatMap(run => run.problems))];
    list.push(element("div", { class: "verdict bad" }, `✗ ${row.label} failed`, element("ul", {}, ...problems.map(p => element("li", {}, p)))));
  }
  for (const row of rows) {
    // The same warning differs between runs in its figures alone; the first stands for all.
    const warned = row.runs.filter(run => run.warnings.length);
    if (!warned.length) continue;
    const who = rows.length > 1 ? `${row.label}${row.runs.length > 1 ? `, ${warned.length} of ${row.runs.length} runs` : ""}: ` : "";
    list.push(element("div", { class: "verdict warn" }, who + warned[0].warnings.join(" ")));
  }
  return list;
}

function tiles(run) {
  const main = run.times[run.main];
  const list = [];
  const tile = (figure, what) => list.push(element("div", { class: "card tile" }, element("div", { class: "figure" }, figure), element("div", { class: "what" }, what)));
  if (main) {
    tile(time(main.p50_ns), `p50, ${main.title}`);
    tile(time(main.p99_ns), "p99");
    tile(time(main.p999_ns), "p99.9");
  }
  if (run.counts.delivered_window) tile(short(perSecond(run)), "deliveries per second");
  if (run.server && run.counts.delivered_window) tile(time(run.server.cpu_per_delivery_ns), "server CPU per delivery" + (run.floor ? ` = ${digits(run.floor.ratio)} × floor` : ""));
  if (run.server && run.server.bytes_per_conn > 0 && !run.counts.delivered_window) tile(bytes(run.server.bytes_per_conn), "memory per connection");
  if (run.server && !run.counts.delivered_window) tile(time(run.server.cpu_per_connection_ns), "server CPU per connection made");
  for (const figure of run.figures.slice(0, 2)) if (figure.unit === "ns" || figure.unit === "bytes") tile((figure.unit === "ns" ? time : bytes)(figure.value), figure.name);
  return element("div", { class: "tiles" }, ...list);
}

function optionsText(run) {
  const o = run.options, s = o.scenario;
  const parts = Object.entries(s).filter(([k, v]) => k !== "kind" && v !== 0 && v !== false).map(([k, v]) => {
    const name = k.replaceAll("_", " ");
    return `${name} ${/every|within|spread|settle|away|timeout/.test(k) ? time(v) : typeof v === "number" ? number(v) : v}`;
  });
  const sizes = o.size.map(([b, w]) => (o.size.length > 1 ? `${b}:${w}` : b)).join(", ");
  if (run.counts.sent) parts.push(`bodies of ${sizes} B`);
  return parts.join(" · ");
}

function section(group, hidden, redraw) {
  const rows = group.rows.filter(row => !hidden.has(row.label));
  const many = group.rows.length > 1;
  const first = group.rows[0].run;
  const out = [];
  out.push(element("p", { class: "soft small" }, optionsText(first)));
  out.push(...verdicts(group.rows));
  if (many) {
    out.push(element("div", { class: "legend" }, ...group.rows.map(row => element("button", {
      "aria-pressed": String(!hidden.has(row.label)),
      onclick: () => { hidden.has(row.label) ? hidden.delete(row.label) : hidden.add(row.label); redraw(); },
    }, dot(row.colour), row.label + (row.runs.length > 1 ? ` × ${row.runs.length}` : "")))));
  } else out.push(tiles(first));
  if (!rows.length) return out;
  const cards = [];
  const main = first.main;
  if (many) {
    const floors = rows.flatMap(row => row.runs.map(run => run.floor?.ns_per_frame)).filter(Boolean);
    const delivered = rows.some(row => row.run.counts.delivered_window);
    if (delivered) cards.push(bars("Server CPU per delivery", rows, run => run.server?.cpu_per_delivery_ns, time, floors.length ? median(floors) : undefined));
    if (delivered) cards.push(bars("Delivered per second", rows, perSecond, short));
    cards.push(bars(`p50, ${first.times[main]?.title ?? ""}`, rows, run => run.times[main]?.p50_ns, time));
    cards.push(bars(`p99, ${first.times[main]?.title ?? ""}`, rows, run => run.times[main]?.p99_ns, time));
    if (!delivered || group.name === "idle") cards.push(bars("Server memory per connection", rows, run => run.server?.bytes_per_conn, bytes));
    if (!delivered) cards.push(bars("Server CPU per connection made", rows, run => run.server?.cpu_per_connection_ns, time));
    for (const name of new Set(rows.flatMap(row => row.run.figures.map(f => f.name)))) {
      const unit = rows.flatMap(row => row.run.figures).find(f => f.name === name).unit;
      const format = unit === "ns" ? time : unit === "bytes" ? bytes : v => `${digits(v)} ${unit}`;
      cards.push(bars(name, rows, run => run.figures.find(f => f.name === name)?.value, format));
    }
  }
  if (rows.some(row => row.run.times[main]))
    cards.push(card("Latency by percentile", byPercentile(rows, main), many ? [] : [{ text: first.times[main].title, colour: colour(group.rows[0].colour) }]));
  // One second is no line.
  const lasts = rows.some(row => whole(row.run, row.run.seconds).length > 1);
  if (lasts && rows.some(row => whole(row.run, row.run.seconds).some(s => s.p99_ns > 0))) cards.push(latencyOverTime(rows));
  if (lasts && rows.some(row => row.run.counts.delivered_window))
    cards.push(card("Delivered per second", overTime(rows, row => [{ values: whole(row.run, row.run.seconds).map(s => s.delivered), fill: true, label: many ? row.label : "delivered" }], { format: short }, true)));
  if (rows.some(row => whole(row.run, row.run.client.seconds).length > 1)) cards.push(cpuOverTime(rows));
  if (rows.some(row => row.run.server?.steps.length > 1)) {
    const lines = rows.filter(row => row.run.server).map(row => ({ label: row.label, colour: colour(row.colour), points: [[0, row.run.server.memory.before_own_bytes], ...row.run.server.steps] }));
    cards.push(card("Server memory by connections", plot(lines, { unit: "connections", format: short, tip: v => number(Math.max(0, v)) + " connections", least: 0 }, { format: bytes })));
  } else if (rows.some(row => moves(row.run.server?.own_bytes_seconds)))
    cards.push(card("Server memory over time (own)", overTime(rows, row => [{ values: row.run.server?.own_bytes_seconds ?? [], label: many ? row.label : "own memory", fill: true }], { format: bytes }, true, index => Math.min(index, rows[0].run.window_ns / 1e9))));
  out.push(element("div", { class: "grid" }, ...cards.filter(Boolean)));
  out.push(element("div", { class: "card", style: "margin-top:14px" }, timesTable(rows)));
  out.push(element("div", { class: "card", style: "margin-top:14px" }, countsTable(rows)));
  if (rows.some(row => row.runs.length > 1))
    out.push(element("p", { class: "soft small", style: "margin-top:10px" }, "Bars are medians. Of several runs, lines and tables show the one whose p99 is in the middle."));
  const floors = rows.map(row => row.run.floor).filter(Boolean);
  if (floors.length) out.push(element("p", { class: "soft small", style: "margin-top:10px" }, `The floor: ${floors[0].method}.`));
  out.push(element("details", {}, element("summary", {}, "All options and counts"), ...rows.map(row => element("pre", {}, `${row.label}\n` + JSON.stringify({ options: row.run.options, counts: row.run.counts }, null, 1)))));
  return out;
}

function page() {
  const groups = groupsOf(reports);
  const main = document.getElementById("main");
  const single = reports.length === 1;
  const title = single ? titleOf(reports[0]) : groups.length === 1 ? groups[0].name : "Comparison";
  document.title = `${title} – loadtest`;
  const when = new Date(Math.min(...reports.map(r => r.started_at)) * 1000).toISOString().slice(0, 16).replace("T", " ") + " UTC";
  const machines = [...new Set(reports.map(r => r.machine))].join("; ");
  const what = single ? `${reports[0].name}, ${number(reports[0].connections)} connections, ${digits(reports[0].window_ns / 1e9)} s measured` : `${reports.length} runs of ${new Set(reports.map(titleOf)).size} servers`;
  main.replaceChildren(element("h1", {}, title), element("p", { class: "soft" }, `${what} · ${machines} · ${when}`));
  for (const group of groups) {
    const holder = element("section");
    const hidden = new Set();
    const redraw = () => holder.replaceChildren(...(groups.length > 1 ? [element("h2", {}, group.name)] : []), ...section(group, hidden, redraw));
    redraw();
    main.append(holder);
  }
}
page();
