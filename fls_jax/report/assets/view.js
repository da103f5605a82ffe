// One agent's view of the frames: the game with a map, its scale, and what the agent would do.

import { colours, drawMap, overlayMap, places } from "./colour.js";
import { choice, h, name, number, percent } from "./dom.js";

const WIDTH = 160, HEIGHT = 210;

/** A panel beside others; `player` tells it what to show and hears what the reader chooses. */
export class View {
  constructor(player, index) {
    this.player = player;
    this.index = index;
    this.canvas = h("canvas", { width: WIDTH, height: HEIGHT, role: "img" });
    this.context = this.canvas.getContext("2d");
    this.image = this.context.createImageData(WIDTH, HEIGHT);
    this.image.data.fill(255);
    this.marks = h("div", { class: "marks", "aria-hidden": "true" });
    this.bar = h("canvas", { width: 256, height: 1, class: "bar", "aria-hidden": "true" });
    this.scaleText = h("span", { class: "ends" });
    this.numbers = h("dl", { class: "numbers" });
    this.policy = h("div", { class: "policy" });
    this.choices = h("div", { class: "choices" });
    this.screen = h("div", { class: "screen" }, this.canvas, this.marks);
    this.element = h(
      "section", { class: `view view-${index}`, "aria-label": `View ${index + 1}` },
      this.choices, this.screen, h("div", { class: "scale" }, this.bar, this.scaleText), this.numbers, this.policy,
    );
    this.listenForRegion();
  }

  /** Another clip, agent or map: `view` is {agent, map}. */
  async set(view) {
    const { clip } = this.player;
    this.view = view;
    this.observer = clip.observers.get(view.agent);
    this.map = this.observer.maps.get(view.map) ?? null;
    this.buildChoices();
    this.buildPolicy();
    await this.map?.load();
  }

  buildChoices() {
    const { clip, agents } = this.player;
    const choose = (change) => this.player.changeView(this.index, { ...this.view, ...change });
    const people = [...clip.observers.keys()].map((id) => [id, agents.get(id).label]);
    const maps = [...this.observer.maps.values()].map(({ record }) => record);
    const methods = [...new Map(maps.map(({ method, label }) => [method, label]))];
    const { method, target } = this.map?.record ?? {};
    const targets = maps.filter((map) => map.method === method);
    const chooseMethod = (chosen) => {
      const alike = maps.filter((map) => map.method === chosen);
      choose({ map: (alike.find((map) => map.target === target) ?? alike[0]).id });
    };
    this.choices.replaceChildren(...[
      choice("Agent", people, this.view.agent, (agent) => choose({ agent, map: null })).element,
      choice("Map", methods.length ? methods : [["", "none recorded"]], method ?? "", chooseMethod,
        { disabled: !maps.length }).element,
      target ? choice("Of the", targets.map((map) => [map.id, map.target]), this.view.map,
        (map) => choose({ map })).element : null,
      this.index ? h("button", {
        type: "button", class: "close", "aria-label": `Remove view ${this.index + 1}`,
        onclick: () => this.player.removeView(this.index),
      }, "×") : null,
    ].filter(Boolean));
  }

  buildPolicy() {
    const { actions } = this.observer.agent;
    this.bars = actions.map((action) => {
      const fill = h("span", { class: "fill" }), ghost = h("span", { class: "ghost" });
      const text = h("span", { class: "share" });
      const row = h("li", {}, h("span", { class: "action" }, name(action)), h("span", { class: "track" }, fill, ghost), text);
      return { row, fill, ghost, text };
    });
    this.policy.replaceChildren(
      h("ul", { "aria-label": "Probability of every action" }, this.bars.map(({ row }) => row)),
    );
  }

  /** The end of this view's own scale. */
  get maximum() {
    return this.map ? this.map.maximum(this.player.state.show === "relative") : 0;
  }

  /** The largest absolute value of this view's map at t. */
  brightest(t) {
    if (!this.map?.whole) return 0;
    return this.map.onInput(t, this.player.state.show === "relative").reduce((most, v) => Math.max(most, Math.abs(v)), 0);
  }

  /** Draw frame t; maximum: the end of the colour scale. */
  draw(t, maximum) {
    const { clip, state } = this.player;
    const pixels = this.image.data;
    if (!clip.drawScreen(t, pixels)) return;
    const relative = state.show === "relative";
    if (this.map?.whole && state.show !== "original") {
      const map = this.map.onScreen(t, relative);
      if (state.show === "map") drawMap(pixels, map, maximum, this.map.signed(relative));
      else overlayMap(pixels, map, maximum, this.map.signed(relative), state.opacity);
    }
    this.context.putImageData(this.image, 0, 0);
    this.drawMarks(t);
    this.drawPolicy(t);
  }

  drawMarks(t) {
    const { clip, state } = this.player;
    const marks = [];
    const place = (element, [x, y, width, height]) => {
      Object.assign(element.style, {
        left: `${(100 * x) / WIDTH}%`, top: `${(100 * y) / HEIGHT}%`,
        width: `${(100 * width) / WIDTH}%`, height: `${(100 * height) / HEIGHT}%`,
      });
      marks.push(element);
    };
    if (state.gaze) clip.gazeAt(t).forEach(([x, y]) => place(h("i", { class: "gaze" }), [x - 2, y - 2, 4, 4]));
    const named = clip.boxes?.kinds.length > 1;
    clip.boxesAt(t, state.boxes).forEach(({ name: kind, box }) => place(h("i", { class: "box" }, named ? h("b", {}, kind) : null), box));
    if (state.region) place(h("i", { class: "region" }), state.region);
    this.marks.replaceChildren(...marks);
  }

  drawPolicy(t) {
    const { clip, state } = this.player;
    const policy = this.observer.policy(t);
    const other = this.observer.replacements.has(state.instead) ? this.observer.policy(t, state.instead) : null;
    const best = policy.indexOf(Math.max(...policy));
    this.bars.forEach(({ row, fill, ghost, text }, i) => {
      fill.style.width = `${100 * policy[i]}%`;
      ghost.style.left = other ? `${100 * other[i]}%` : "0";
      ghost.hidden = !other;
      text.textContent = percent(policy[i]);
      row.classList.toggle("best", i === best);
      row.classList.toggle("taken", i === clip.actions?.[t]);
    });
    const area = this.map && this.observer.areas.get(this.map.record.id);
    this.setNumbers([
      ["value", number(this.observer.values[t])],
      ["entropy (nats)", number(this.observer.entropies[t])],
      ["effective area", area && !Number.isNaN(area[t]) ? percent(area[t]) : "–"],
    ]);
  }

  setNumbers(pairs) {
    if (this.numbers.childElementCount !== pairs.length) {
      this.numbers.replaceChildren(...pairs.map(([label]) => h("div", {}, h("dt", {}, label), h("dd", {}))));
    }
    pairs.forEach(([, text], i) => (this.numbers.children[i].lastChild.textContent = text));
  }

  /** The colour bar with the numbers at its ends. */
  drawScale(maximum) {
    const { show } = this.player.state;
    const shown = this.map && show !== "original";
    this.element.classList.toggle("without-map", !shown);
    if (!shown) {
      this.scaleText.textContent = this.map ? "the game as it is" : "no map recorded for this agent";
      return;
    }
    const signed = this.map.signed(show === "relative");
    const table = colours(signed);
    const context = this.bar.getContext("2d");
    const image = context.createImageData(256, 1);
    const values = Float32Array.from({ length: 256 }, (_, i) => (signed ? (2 * i) / 255 - 1 : i / 255));
    const found = places(values, 1, signed);
    for (let i = 0; i < 256; i++) {
      const from = 3 * found[i];
      image.data.set([table[from], table[from + 1], table[from + 2], 255], 4 * i);
    }
    context.putImageData(image, 0, 0);
    this.scaleText.textContent = `${signed ? number(-maximum) : 0} to ${number(maximum)}`;
  }

  get mapName() {
    const { label, target } = this.map.record;
    return target ? `${label} of the ${target}` : label;
  }

  /** What a screen reader is told of the picture; called when the film stands still. */
  describe(t) {
    const { clip, state } = this.player;
    const policy = this.observer.policy(t);
    const best = policy.indexOf(Math.max(...policy));
    const { actions, label } = this.observer.agent;
    const map = this.map && state.show !== "original" ? `, ${this.mapName} as ${state.show}` : "";
    this.canvas.setAttribute(
      "aria-label",
      `Frame ${t + 1} of ${clip.steps}${map}. ${label} prefers ${actions[best]} (${percent(policy[best])}), ` +
        `value ${number(this.observer.values[t])}.`,
    );
  }

  /** Dragging on the picture marks a region. */
  listenForRegion() {
    let start = null;
    const place = (event) => {
      const box = this.canvas.getBoundingClientRect();
      const inside = (value, size) => Math.round(Math.min(Math.max(value, 0), 1) * size);
      return [inside((event.clientX - box.left) / box.width, WIDTH), inside((event.clientY - box.top) / box.height, HEIGHT)];
    };
    this.canvas.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "touch") return; // a finger scrolls the page
      start = place(event);
      this.canvas.setPointerCapture(event.pointerId);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (!start) return;
      const [x, y] = place(event);
      const region = [Math.min(x, start[0]), Math.min(y, start[1]), Math.abs(x - start[0]), Math.abs(y - start[1])];
      if (region[2] > 2 && region[3] > 2) this.player.setRegion(region, false);
    });
    this.canvas.addEventListener("pointerup", () => {
      if (start) this.player.setRegion(this.player.state.region, true);
      start = null;
    });
  }
}
