"use strict";
// Draws what stands in the element `data`. Everything that comes from an image is put in as text,
// never as markup.
(() => {
  const COLOURS = 10, UNITS = ["kB", "MB", "GB", "TB", "PB"], MOST_CELLS = 3000;

  const make = (tag, classes, ...children) => {
    const element = document.createElement(tag);
    if (classes) element.className = classes;
    element.append(...children);
    return element;
  };
  const button = (classes, action, ...children) => {
    const element = make("button", classes, ...children);
    element.type = "button";
    if (action) element.addEventListener("click", action);
    return element;
  };
  const bytes = (count) => {
    if (count < 1000) return `${count} B`;
    let unit = 0, value = count / 1000;
    for (; value >= 999.5 && unit + 1 < UNITS.length; unit++) value /= 1000;
    return `${value.toFixed(value < 9.995 ? 2 : value < 99.95 ? 1 : 0)} ${UNITS[unit]}`;
  };
  const number = (count) => String(count).replace(/\B(?=(\d{3})+$)/g, ",");
  const count = (n, noun) => `${number(n)} ${noun}${n === 1 ? "" : "s"}`;
  const share = (part, whole) => {
    const percent = whole ? (part * 100) / whole : 0;
    if (percent > 0 && percent < 0.1) return "under 0.1 %";
    return `${percent < 9.95 && percent > 0 ? percent.toFixed(1) : Math.round(percent)} %`;
  };
  /** A choice of one in several: `[key, label]`. */
  const choice = (name, options, chosen, act) => {
    const group = make("div", "switch");
    group.setAttribute("role", "group");
    group.setAttribute("aria-label", name);
    for (const [key, label] of options) {
      const one = button("", () => {
        for (const other of group.children) other.setAttribute("aria-pressed", other === one);
        act(key);
      }, label);
      one.dataset.key = key;
      one.setAttribute("aria-pressed", key === chosen);
      group.append(one);
    }
    return group;
  };

  /**
   * Fills a rectangle with areas in proportion to `sizes`, the largest first, each as square as can
   * be: rows along the shorter side, each taken as long as it makes its areas squarer.
   */
  const squarify = (sizes, x, y, width, height) => {
    const places = [];
    let left = sizes.reduce((sum, size) => sum + size, 0), at = 0;
    while (at < sizes.length && left > 0 && width > 0 && height > 0) {
      const side = Math.min(width, height), scale = (width * height) / left;
      let sum = 0, worst = Infinity, end = at;
      for (; end < sizes.length; end++) {
        const more = sum + sizes[end], row = (more * scale) / side;
        const squareness = Math.max((sizes[at] * scale) / (row * row), (row * row) / (sizes[end] * scale));
        if (squareness > worst) break;
        worst = squareness;
        sum = more;
      }
      const depth = (sum * scale) / side;
      let along = 0;
      for (; at < end; at++) {
        const length = (sizes[at] * scale) / depth;
        places.push(width >= height ? [x, y + along, depth, length] : [x + along, y, length, depth]);
        along += length;
      }
      if (width >= height) { x += depth; width -= depth; } else { y += depth; height -= depth; }
      left -= sum;
    }
    return places;
  };

  /** The files of an image: directories, files, and for each directory what is summed up in it. */
  class Files {
    constructor({ nodes, rests }) {
      const all = nodes.map(([parent, name, size, layer, by], at) => (
        { at, parent: at ? parent : -1, name, size, layer, by, kids: [], total: 0, hidden: 0, count: 0 }
      ));
      for (const node of all) node.isDirectory = node.size === undefined;
      const summed = new Map();
      for (const [directory, layer, seen, hidden, files] of rests) {
        if (!summed.has(directory)) {
          const at = all.length;
          all.push({ at, parent: directory, kids: [], rests: [], total: 0, hidden: 0, count: 0 });
          summed.set(directory, all[at]);
        }
        summed.get(directory).rests.push({ layer, seen, hidden, files });
      }
      for (const node of all) if (node.parent >= 0) all[node.parent].kids.push(node);
      this.all = all;
      this.kinds = this.findKinds();
    }

    /** The extensions that most bytes have, so many as there are colours but one. */
    findKinds() {
      const sums = new Map();
      for (const node of this.all) {
        if (node.size === undefined) continue;
        node.kind = /[^.]\.([A-Za-z0-9_+-]{1,12})$/.exec(node.name)?.[1].toLowerCase() ?? "";
        sums.set(node.kind, (sums.get(node.kind) ?? 0) + node.size);
      }
      sums.delete("");
      const order = [...sums].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
      return new Map(order.slice(0, COLOURS - 1).map(([kind], colour) => [kind, colour]));
    }

    /** Weighs everything, or what is of one layer. */
    weigh(layer) {
      const counts = (of) => layer === null || of === layer;
      for (const node of this.all) {
        node.total = node.hidden = node.count = 0;
        if (node.size !== undefined && counts(node.layer)) {
          node.total = node.size;
          node.hidden = node.by === undefined ? 0 : node.size;
          node.count = 1;
        }
        for (const rest of node.rests ?? []) {
          if (!counts(rest.layer)) continue;
          node.total += rest.seen + rest.hidden;
          node.hidden += rest.hidden;
          node.count += rest.files;
        }
      }
      for (let at = this.all.length - 1; at > 0; at--) {
        const { parent, total, hidden, count } = this.all[at], above = this.all[parent];
        above.total += total;
        above.hidden += hidden;
        above.count += count;
      }
      for (const node of this.all) node.kids.sort((a, b) => b.total - a.total || a.at - b.at);
    }

    way(node) {
      const way = [node];
      while (way[0].parent >= 0) way.unshift(this.all[way[0].parent]);
      return way;
    }

    path(node) {
      const names = this.way(node).filter((one) => one.name).map((one) => one.name);
      return `/${names.join("/")}`;
    }
  }

  /** One image: its strip of layers and its tree map. */
  class Picture {
    constructor(section, { layers, tree }) {
      Object.assign(this, { section, layers, files: new Files(tree), layer: null, measure: "stored" });
      this.root = this.files.all[0];
      const large = layers.filter((layer) => layer.bytes * 20 > layers.reduce((sum, one) => sum + one.bytes, 0));
      this.colouring = large.length > 1 ? "layer" : "kind";
      section.classList.add("scripted");
      this.makeStrip(section.querySelector(".layers"));
      this.makeMap(section.querySelector(".map"));
      this.choose(null);
      new ResizeObserver(() => this.fit()).observe(this.canvas);
    }

    makeStrip(article) {
      const strip = make("div", "strip"), detail = make("p", "detail");
      strip.setAttribute("role", "group");
      strip.setAttribute("aria-label", "Layers, as wide as they are large");
      detail.setAttribute("aria-live", "polite");
      this.blocks = this.layers.map((layer, at) => {
        const block = button(`block c${at % COLOURS}`, () => this.choose(this.layer === at ? null : at),
          make("span", "", String(at + 1)), make("span", "", layer.by), make("span", ""));
        block.dataset.layer = at;
        for (const event of ["mouseenter", "focus"]) block.addEventListener(event, () => this.tell(at));
        return block;
      });
      strip.append(...this.blocks);
      strip.addEventListener("mouseleave", () => this.tell(this.layer));
      this.strip = strip;
      this.layerDetail = detail;
      article.querySelector(".heading").append(choice("Size of layers",
        [["stored", "Stored"], ["bytes", "Unpacked"]], this.measure, (key) => { this.measure = key; this.measureBlocks(); }));
      article.querySelector(".heading").after(strip, detail);
      this.rows = [...article.querySelectorAll("tbody tr")];
      for (const row of this.rows) {
        const at = Number(row.dataset.layer);
        row.addEventListener("click", () => {
          // Text that is being copied is no click.
          if (!String(getSelection())) this.choose(this.layer === at ? null : at);
        });
      }
      this.measureBlocks();
    }

    measureBlocks() {
      const whole = this.layers.reduce((sum, layer) => sum + layer[this.measure], 0);
      this.blocks.forEach((block, at) => {
        const layer = this.layers[at], size = layer[this.measure];
        block.style.flexGrow = whole ? size / whole : 1;
        block.lastChild.textContent = `${bytes(size)} · ${share(size, whole)}`;
        block.setAttribute("aria-label", `Layer ${at + 1}: ${layer.by}, ${bytes(size)}, ${share(size, whole)}`);
      });
      this.fitBlocks();
      this.tell(this.layer);
    }

    fitBlocks() {
      const widths = this.blocks.map((block) => block.offsetWidth);
      this.blocks.forEach((block, at) => block.classList.toggle("narrow", widths[at] < 36));
    }

    /** Tells of a layer, or of them all. */
    tell(at) {
      const line = this.layerDetail;
      if (at === null) {
        line.replaceChildren("Choose a layer to see its files alone.");
        return;
      }
      const layer = this.layers[at], sum = (of) => this.layers.reduce((all, one) => all + one[of], 0);
      const facts = [
        `${bytes(layer.stored)} stored (${share(layer.stored, sum("stored"))})`,
        `${bytes(layer.bytes)} unpacked (${share(layer.bytes, sum("bytes"))})`,
        `tar of ${bytes(layer.tar)}`, count(layer.files, "file"),
      ];
      if (layer.wasted) facts.push(`${bytes(layer.wasted)} wasted`);
      line.replaceChildren(make("b", "", `Layer ${at + 1} of ${this.layers.length}`),
        ` · ${facts.join(" · ")} · `, make("code", "", layer.by));
    }

    choose(layer) {
      this.layer = layer;
      this.strip.classList.toggle("filtered", layer !== null);
      this.blocks.forEach((block, at) => block.setAttribute("aria-pressed", at === layer));
      this.rows.forEach((row, at) => row.classList.toggle("chosen", at === layer));
      this.only.hidden = layer === null;
      if (layer !== null) {
        this.only.className = `only c${layer % COLOURS}`;
        this.only.textContent = `Layer ${layer + 1} alone ✕`;
        this.only.setAttribute("aria-label", `Layer ${layer + 1} alone: show all layers`);
      }
      this.tell(layer);
      this.files.weigh(layer);
      while (!this.root.total && this.root.parent >= 0) this.root = this.files.all[this.root.parent];
      this.draw();
    }

    makeMap(place) {
      this.crumbs = make("nav", "crumbs");
      this.crumbs.setAttribute("aria-label", "Directory");
      this.only = button("only", () => this.choose(null));
      const colouring = choice("Colours", [["layer", "By layer"], ["kind", "By kind of file"]], this.colouring,
        (key) => { this.colouring = key; this.draw(); });
      this.canvas = make("div", "canvas");
      this.canvas.setAttribute("role", "group");
      this.canvas.setAttribute("aria-label", "Tree map. Arrow keys move, Enter opens a directory, Escape goes up.");
      this.detail = make("p", "detail");
      this.detail.setAttribute("aria-live", "polite");
      this.legend = make("ul", "legend");
      place.append(make("div", "tools", this.crumbs, this.only, colouring), this.canvas, this.detail, this.legend);
      const cell = (event) => event.target.closest(".cell");
      this.canvas.addEventListener("click", (event) => { if (cell(event)) this.open(this.nodeOf(cell(event))); });
      for (const event of ["mouseover", "focusin"]) {
        this.canvas.addEventListener(event, (event) => this.tellNode(cell(event) ? this.nodeOf(cell(event)) : this.root));
      }
      this.canvas.addEventListener("mouseleave", () => this.tellNode(this.root));
      this.canvas.addEventListener("keydown", (event) => this.key(event));
    }

    nodeOf(cell) { return this.files.all[cell.dataset.node]; }

    /** Goes into a directory, or into the one that a file is in. */
    open(node, back) {
      const target = node.isDirectory ? node : this.files.all[node.parent];
      const isHere = target === this.root;
      const came = this.root;
      if (!isHere) {
        this.root = target;
        this.draw();
      }
      this.tellNode(isHere ? node : this.root);
      if (!isHere && (back || this.hadFocus)) {
        const cells = [...this.canvas.querySelectorAll(".cell")];
        const place = cells.find((cell) => cell.dataset.node === String(came.at)) ?? cells[0];
        if (place) this.rove(place);
      }
    }

    up() {
      if (this.root.parent < 0) return;
      // What was gone through in one step is left in one.
      let above = this.files.all[this.root.parent];
      while (above.parent >= 0 && this.drawnKids(above).length === 1) above = this.files.all[above.parent];
      this.open(above, true);
    }

    drawnKids(node) { return node.kids.filter((kid) => kid.total > 0); }

    key(event) {
      if (event.key === "Escape" || event.key === "Backspace") {
        event.preventDefault();
        return this.up();
      }
      const [x, y] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
      const here = event.target.closest(".cell");
      if (!here || (!x && !y)) return;
      event.preventDefault();
      const middle = (cell) => {
        const { offsetLeft, offsetTop, offsetWidth, offsetHeight } = cell;
        // A directory is where its name is.
        const height = cell.classList.contains("open") ? 18 : offsetHeight;
        return [offsetLeft + offsetWidth / 2, offsetTop + height / 2];
      };
      const from = middle(here);
      let best = null, least = Infinity;
      for (const cell of this.canvas.querySelectorAll(".cell")) {
        const to = middle(cell), ahead = (to[0] - from[0]) * x + (to[1] - from[1]) * y;
        if (cell === here || ahead <= 1) continue;
        const aside = Math.abs((to[0] - from[0]) * y) + Math.abs((to[1] - from[1]) * x);
        if (ahead + 2 * aside < least) { least = ahead + 2 * aside; best = cell; }
      }
      if (best) this.rove(best);
    }

    /** Of all cells one can be reached by the tab key. */
    rove(cell) {
      this.canvas.querySelector(".cell[tabindex='0']")?.setAttribute("tabindex", -1);
      cell.tabIndex = 0;
      cell.focus();
    }

    fit() {
      this.fitBlocks();
      const { clientWidth, clientHeight } = this.canvas;
      if (clientWidth !== this.width || clientHeight !== this.height) this.draw();
    }

    draw() {
      const { clientWidth: width, clientHeight: height } = this.canvas;
      Object.assign(this, { width, height, cells: [], hadFocus: this.canvas.contains(document.activeElement) });
      if (!width) return;
      this.fill(this.root, 0, 0, width, height, 0);
      if (!this.cells.length) this.cells.push(make("p", "empty", "There is no file with content here."));
      this.canvas.replaceChildren(...this.cells);
      this.canvas.querySelector(".cell")?.setAttribute("tabindex", 0);
      this.drawCrumbs();
      this.drawLegend();
      this.tellNode(this.root);
    }

    /** Draws what is in a directory. */
    fill(directory, x, y, width, height, depth) {
      const kids = this.drawnKids(directory);
      const places = squarify(kids.map((kid) => kid.total), x, y, width, height);
      places.forEach((place, at) => {
        // What can't be seen isn't drawn; it is when somebody goes in.
        if (place[2] >= 2 && place[3] >= 2 && this.cells.length < MOST_CELLS) this.cell(kids[at], place, depth);
      });
    }

    cell(node, [x, y, width, height], depth) {
      let names = node.name;
      while (node.isDirectory && this.drawnKids(node).length === 1 && this.drawnKids(node)[0].isDirectory) {
        node = this.drawnKids(node)[0];
        names += `/${node.name}`;
      }
      const isOpen = node.isDirectory && width >= 44 && height >= 40;
      const cell = button("cell");
      cell.tabIndex = -1;
      cell.dataset.node = node.at;
      Object.assign(cell.style, { left: `${x}px`, top: `${y}px`, width: `${width}px`, height: `${height}px` });
      cell.setAttribute("aria-label", this.describe(node).join(", "));
      if (isOpen) cell.classList.add("open");
      else cell.classList.add(...this.look(node));
      if (isOpen && depth % 2) cell.classList.add("deep");
      const label = node.rests ? `+ ${count(node.count, "file")}` : node.isDirectory ? `${names}/` : names;
      if (isOpen || (width >= 42 && height >= 18)) {
        const name = make("span", "", label);
        if (isOpen && width > 130) name.append(make("small", "", bytes(node.total)));
        cell.append(name);
        if (!isOpen && height >= 36) cell.append(make("span", "", bytes(node.total)));
      }
      this.cells.push(cell);
      if (isOpen) this.fill(node, x + 2, y + 18, width - 4, height - 20, depth + 1);
    }

    /** The colour of a file; a directory that is too small to be open has that of its largest. */
    look(node) {
      let file = node;
      while (file.isDirectory) file = this.drawnKids(file)[0];
      const look = [];
      const kind = this.files.kinds.get(file.kind);
      if (file.rests) {
        const layers = new Set(file.rests.map((rest) => rest.layer));
        const only = this.layer ?? (layers.size === 1 ? [...layers][0] : null);
        look.push(this.colouring === "layer" && only !== null ? `c${only % COLOURS}` : "rest");
      } else if (this.colouring === "layer") look.push(`c${file.layer % COLOURS}`);
      else look.push(kind === undefined ? "rest" : `c${kind}`);
      if (node.hidden * 2 > node.total) look.push("gone");
      return look;
    }

    describe(node) {
      const facts = [node.rests ? `${this.files.path(node)}: ${count(node.count, "small file")} summed up` : this.files.path(node),
        bytes(node.total), `${share(node.total, this.files.all[0].total)} of ${this.layer === null ? "all layers" : `layer ${this.layer + 1}`}`];
      if (node.isDirectory) facts.push(count(node.count, "file"));
      if (node.layer !== undefined) facts.push(`layer ${node.layer + 1}`);
      if (node.by !== undefined) facts.push(`hidden by layer ${node.by + 1}`);
      else if (node.hidden) facts.push(`${bytes(node.hidden)} hidden by later layers`);
      return facts;
    }

    tellNode(node) {
      const [path, ...facts] = this.describe(node);
      this.detail.replaceChildren(make("b", "", make("code", "", path)), ` · ${facts.join(" · ")}`);
    }

    drawCrumbs() {
      const way = this.files.way(this.root), crumbs = [];
      for (const node of way) {
        const crumb = button("", () => this.open(node), node.parent < 0 ? "/" : node.name);
        if (node === this.root) crumb.setAttribute("aria-current", "true");
        if (node.parent > 0) crumbs.push(make("span", "", "/"));
        crumbs.push(crumb);
      }
      this.crumbs.replaceChildren(...crumbs);
    }

    drawLegend() {
      const entry = (look, text, title) => {
        const label = make("span", "", text);
        if (title) label.title = title;
        return make("li", "", make("span", `swatch ${look}`), label);
      };
      const entries = this.colouring === "layer"
        ? this.layers.slice(0, COLOURS).map((layer, at) => entry(`c${at}`, `${at + 1}  ${layer.by}`, layer.by))
        : [...this.files.kinds].map(([kind, colour]) => entry(`c${colour}`, `.${kind}`));
      if (this.colouring === "layer" && this.layers.length > COLOURS) {
        entries.push(make("li", "", `from ${COLOURS + 1} on, colours begin again`));
      }
      entries.push(entry("rest", this.colouring === "layer" ? "of several layers" : "other kinds, small files"));
      if (this.files.all[0].hidden) entries.push(entry("gone", "hidden by a later layer"));
      this.legend.replaceChildren(...entries);
    }
  }

  const tabs = (sections, names, shown) => {
    const list = make("div", "tabs");
    list.setAttribute("role", "tablist");
    list.setAttribute("aria-label", "Platforms");
    const show = (at) => {
      sections.forEach((section, other) => { section.hidden = other !== at; });
      [...list.children].forEach((tab, other) => {
        tab.setAttribute("aria-selected", other === at);
        tab.tabIndex = other === at ? 0 : -1;
      });
      shown(at);
    };
    names.forEach((name, at) => {
      const tab = button("", () => show(at), name), section = sections[at];
      tab.setAttribute("role", "tab");
      tab.id = `tab-${at}`;
      section.id = `image-${at}`;
      tab.setAttribute("aria-controls", section.id);
      section.setAttribute("role", "tabpanel");
      section.setAttribute("aria-labelledby", tab.id);
      section.classList.add("several");
      list.append(tab);
    });
    list.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      const at = ([...list.children].indexOf(event.target) + step + names.length) % names.length;
      show(at);
      list.children[at].focus();
    });
    sections[0].before(list);
    show(0);
  };

  const { images } = JSON.parse(document.getElementById("data").textContent);
  const sections = [...document.querySelectorAll("section.image")];
  // An image is drawn when it is first looked at.
  const pictures = [];
  const show = (at) => { pictures[at] ??= new Picture(sections[at], images[at]); };
  if (sections.length > 1) tabs(sections, images.map((image) => image.platform), show);
  else show(0);
})();
