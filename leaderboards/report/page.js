"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const read = (id) => JSON.parse($(id).textContent);

  // Foreign text only ever becomes a text node.
  const make = (tag, className, ...children) => {
    const node = document.createElement(tag);
    if (className) node.className = className;
    node.append(...children.filter((child) => child !== null));
    return node;
  };

  // --- board: sort by a column; what has no figure stays last ---------------------------------------

  const valueOf = (cell) => {
    const text = cell.dataset.value;
    return cell.classList.contains("name") ? text : text === "" ? null : Number(text);
  };

  const sortBy = (head) => {
    const row = head.parentNode;
    const column = [...row.children].indexOf(head);
    const before = head.getAttribute("aria-sort");
    const first = head.dataset.first || "ascending";
    const order = before === null ? first : before === "ascending" ? "descending" : "ascending";
    for (const other of row.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const body = head.closest("table").tBodies[0];
    const compare = (a, b) => {
      const [x, y] = [valueOf(a.children[column]), valueOf(b.children[column])];
      if (x === null || y === null) return (x === null) - (y === null);
      return sign * (typeof x === "string" ? x.localeCompare(y) : x - y);
    };
    body.append(...[...body.rows].sort(compare));
  };

  for (const button of document.querySelectorAll("#board-table thead button:not(.help)"))
    button.addEventListener("click", () => sortBy(button.parentNode));

  $("metric-search").addEventListener("input", (event) => {
    const wanted = event.target.value.trim().toLowerCase();
    for (const row of $("metric-table").tBodies[0].rows)
      row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
  });

  // --- navigation: where the reader is ----------------------------------------------------------------

  const links = [...document.querySelectorAll("nav a")];
  const sections = new IntersectionObserver(
    (entries) => {
      for (const entry of entries)
        if (entry.isIntersecting)
          for (const link of links) link.classList.toggle("here", link.hash === `#${entry.target.id}`);
    },
    { rootMargin: "-15% 0px -75% 0px" },
  );
  for (const section of document.querySelectorAll("main > section")) sections.observe(section);

  // --- plots: drawn when they come near the screen, again when light or dark or the width changes ------

  const specs = read("figures-data");
  const drawn = new Map(); // chart -> what vegaEmbed gave

  // A legend has as many columns as its longest entry allows.
  const entries = (spec) => (spec.layer ?? [spec]).flatMap((layer) => layer.encoding?.color?.scale?.domain ?? []);
  const columnsOf = (spec, width) => {
    const longest = Math.max(10, ...entries(spec).map((entry) => entry.length));
    return Math.max(1, Math.floor(width / (longest * 6.5 + 40)));
  };

  const theme = (spec, width) => {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const font = "system-ui, sans-serif";
    const [text, soft, line] = [colour("--text"), colour("--soft"), colour("--line-soft")];
    return {
      background: "transparent",
      font,
      autosize: { type: "fit-x", contains: "padding" },
      view: { stroke: "transparent" },
      axis: { labelColor: soft, titleColor: soft, gridColor: line, domainColor: soft, tickColor: soft, labelOverlap: "greedy", labelSeparation: 6,
              labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal" },
      legend: { labelColor: text, titleColor: soft, labelFontSize: 12, labelLimit: Math.min(width - 50, 300),
                columns: columnsOf(spec, width), symbolSize: 90, symbolOpacity: 1 },
      text: { color: text, fontSize: 12, fontWeight: 600 },
    };
  };

  const draw = async (chart) => {
    drawn.get(chart)?.finalize();
    const spec = specs[chart.dataset.figure];
    const result = await vegaEmbed(chart, spec, {
      mode: "vega-lite", ast: true, renderer: "svg", actions: false, defaultStyle: false,
      tooltip: { disableDefaultStyle: true }, config: theme(spec, chart.clientWidth),
    });
    drawn.set(chart, result);
    chart.dataset.width = chart.clientWidth;
  };

  const near = new IntersectionObserver(
    (entries) => {
      for (const entry of entries)
        if (entry.isIntersecting && !drawn.has(entry.target)) {
          drawn.set(entry.target, null);
          draw(entry.target).catch((error) => { entry.target.textContent = `No plot: ${error.message}`; });
        }
    },
    { rootMargin: "600px" },
  );
  for (const chart of document.querySelectorAll(".chart")) near.observe(chart);

  const redraw = (changed) => {
    for (const [chart, view] of drawn) if (view !== null && changed(chart)) draw(chart);
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraw(() => true));
  let waiting = 0;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => redraw((chart) => Number(chart.dataset.width) !== chart.clientWidth), 200);
  });

  // --- prompt explorer ----------------------------------------------------------------------------------

  const data = read("explorer-data");
  const prompts = data.prompts;
  const shown = new Set(data.systems);
  let order = prompts.ids.map((_, i) => i);

  const number = (value) => (value === null || value === undefined ? "–" : value.toFixed(3).replace(/^0\./, "."));
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const scores = (p) => data.systems.filter((s) => s.kind === "system").map((s) => s.score[p] ?? 0);
  const spread = (p) => Math.max(...scores(p)) - Math.min(...scores(p));
  const ORDERS = {
    data: () => 0,
    best: (a, b) => mean(scores(b)) - mean(scores(a)),
    worst: (a, b) => mean(scores(a)) - mean(scores(b)),
    apart: (a, b) => spread(b) - spread(a),
  };

  const listPrompts = () => {
    const wanted = $("prompt-search").value.trim().toLowerCase();
    const fits = (p) => `${prompts.texts[p]} ${prompts.ids[p]}`.toLowerCase().includes(wanted);
    order = prompts.ids.map((_, i) => i).filter(fits).sort(ORDERS[$("prompt-order").value]);
    $("prompt-list").replaceChildren(
      ...order.map((p) => {
        const option = make("option", "", `${prompts.texts[p]}  (${prompts.ids[p]})`);
        option.value = p;
        return option;
      }),
    );
    $("prompt-count").textContent = `${$("prompts-title").textContent.replace(/s$/, "")} (${order.length} of ${prompts.ids.length})`;
    go(0);
  };

  const go = (place) => {
    if (!order.length) {
      $("prompt").replaceChildren(make("p", "lead", "Nothing holds these words."));
      $("slates").replaceChildren();
      return;
    }
    $("prompt-list").selectedIndex = (place + order.length) % order.length;
    show();
  };

  const items = (slate, references, earlier) =>
    make("ol", "", ...slate.map((item) => {
      const hit = references?.has(item);
      const fresh = earlier && !earlier.has(item);
      const title = make("span", "", fresh ? make("span", "new", "new ") : null, hit ? "✓ " : null, data.titles[item], hit ? make("span", "visually-hidden", " (hit)") : null);
      title.title = data.titles[item];
      return make("li", hit ? "hit" : "", title);
    }));

  const card = (title, line, body, className) => {
    const node = make("article", `slate ${className}`, make("h4", "", title), line ? make("p", "", line) : null, body);
    return node;
  };

  const systemCard = (system, p, references) => {
    const slates = system.slates[p];
    const choice = $("sample-list").value;
    const one = slates.length < 2 || choice !== "all";
    const sample = Math.min(slates.length - 1, one && choice !== "all" ? Number(choice) : 0);
    const hits = (slate) => slate.filter((item) => references?.has(item)).length;
    const line = [`${data.metric} ${number(system.score[p])}`];
    if (system.exact) line.push(`${data.exact} ${number(system.exact[p])}`);
    if (!slates.length) return card(system.label, line.join(" · "), make("p", "", "no slate"), "");
    if (one) {
      if (references) line.push(hits(slates[sample]) === 1 ? "1 hit" : `${hits(slates[sample])} hits`);
      if (slates.length > 1) line.push(`sample ${sample + 1}: ${number(system.each[p][sample])}`);
      return card(system.label, line.join(" · "), items(slates[sample], references, null), system.kind);
    }
    const earlier = new Set();
    const columns = slates.map((slate, m) => {
      const seen = m ? new Set(earlier) : null;
      slate.forEach((item) => earlier.add(item));
      return make("div", "", make("p", "", `sample ${m + 1}: ${number(system.each[p][m])}`), items(slate, references, seen));
    });
    const all = make("div", "columns", ...columns);
    all.tabIndex = 0;
    return card(system.label, `${line.join(" · ")} (means over samples)`, all, `${system.kind} all`);
  };

  // The reference, its items marked that a system hit, with the systems that did.
  const referenceCard = (systems, p) => {
    const right = prompts.references[p];
    const list = items(right, new Set(systems.flatMap((system) => system.slates[p].flat())), null);
    [...list.children].forEach((line, i) => {
      const by = systems.filter((system) => system.slates[p].some((slate) => slate.includes(right[i])));
      if (by.length) line.append(make("small", "by", `by ${by.map((system) => system.label).join(", ")}`));
    });
    return card("Reference", right.length === 1 ? "1 item" : `${right.length} items`, list, "reference");
  };

  const show = () => {
    const p = Number($("prompt-list").value);
    const references = prompts.references && new Set(prompts.references[p]);
    const about = [prompts.ids[p]];
    const newest = prompts.histories[p];
    if (prompts.typed[p] && newest.length) about.push(`${prompts.lengths[p]} items of history`);
    if (prompts.seeds[p].length) about.push(`seed items: ${prompts.seeds[p].map((i) => data.titles[i]).join("; ")}`);
    const heading = prompts.typed[p] || (newest.length ? `After ${prompts.lengths[p]} items` : "(no text)");
    $("prompt").replaceChildren(make("blockquote", "", heading), make("p", "lead", about.join(" · ")));
    const systems = data.systems.filter((system) => shown.has(system));
    const cards = systems.map((system) => systemCard(system, p, references));
    if (references) cards.unshift(referenceCard(systems, p));
    if (newest.length) {
      const older = prompts.lengths[p] - newest.length;
      const list = items(newest, null, null);
      list.start = older + 1;
      cards.unshift(card("History", older ? `oldest first; ${older} older left out` : "oldest first", list, "history"));
    }
    $("slates").replaceChildren(...cards);
  };

  const samples = Math.max(...data.systems.map((system) => Math.max(0, ...system.slates.map((slates) => slates.length))));
  const option = (value, text) => {
    const node = make("option", "", text);
    node.value = value;
    return node;
  };
  for (let m = 0; m < samples; m++) $("sample-list").append(option(m, String(m + 1)));
  if (samples > 1) $("sample-list").append(option("all", "all, side by side"));
  for (const system of data.systems) {
    const box = make("input");
    box.type = "checkbox";
    box.checked = true;
    box.addEventListener("change", () => { box.checked ? shown.add(system) : shown.delete(system); show(); });
    $("system-list").append(make("label", "", box, system.label));
  }
  $("explorer-notes").textContent = data.notes.length ? `Note: ${data.notes.join("; ")}.` : "";
  $("prompt-search").addEventListener("input", listPrompts);
  $("prompt-order").addEventListener("change", listPrompts);
  $("prompt-list").addEventListener("change", show);
  $("sample-list").addEventListener("change", show);
  $("prompt-before").addEventListener("click", () => go($("prompt-list").selectedIndex - 1));
  $("prompt-after").addEventListener("click", () => go($("prompt-list").selectedIndex + 1));
  $("prompt-random").addEventListener("click", () => go(Math.floor(Math.random() * order.length)));
  $("explorer").hidden = false;
  listPrompts();
})();
