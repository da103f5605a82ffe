// The player: one clip, one to four views on the same frames, and everything that moves through time.

import { Clip } from "./clip.js";
import { choice, copyButton, h, tick } from "./dom.js";
import { listenToKeys } from "./keys.js";
import { seriesOf } from "./series.js";
import { readHash, showHash, writeHash } from "./state.js";
import { Timelines } from "./timelines.js";
import { View } from "./view.js";
import { WhatIf } from "./whatif.js";

const MOST_VIEWS = 4;
const SHOWS = [["original", "game"], ["overlay", "overlay"], ["map", "map"], ["relative", "less its mean"]];

/** Builds the section; start() loads the first clip, or what the address asks for. */
export class Player {
  constructor(report) {
    this.agents = new Map(report.agents.map((agent) => [agent.id, agent]));
    this.clips = new Map(report.clips.map((clip) => [clip.id, new Clip(clip, this.agents)]));
    this.state = {
      clip: report.clips[0].id, frame: 0, views: [], show: "overlay", opacity: 1, shared: true,
      perFrame: false, gaze: true, boxes: [], region: null, instead: null, speed: 1,
    };
    this.views = [];
    this.playing = false;
    this.timelines = new Timelines((t) => this.seek(t));
    this.whatIf = new WhatIf((instead) => this.change({ instead }));
    this.build();
    listenToKeys(this);
    window.addEventListener("hashchange", () => this.restore(location.hash));
  }

  get clip() {
    return this.clips.get(this.state.clip);
  }

  async start() {
    await this.restore(location.hash, true);
  }

  /** Show what a hash describes; first: also where it describes nothing. */
  async restore(hash, first = false) {
    const given = readHash(hash);
    if (!first && !Object.keys(given).length) return;
    if (!this.clips.has(given.clip)) delete given.clip;
    const views = given.views ?? [];
    delete given.views;
    for (const key of Object.keys(given)) given[key] === undefined && delete given[key];
    Object.assign(this.state, given);
    await this.openClip(this.state.clip, views);
    if (hash.includes("=")) this.element.scrollIntoView();
  }

  async openClip(id, views = []) {
    this.pause();
    this.state.clip = id;
    const { clip } = this;
    this.element.setAttribute("aria-busy", "true");
    await clip.load();
    const known = views.filter((view) => clip.observers.has(view.agent)).slice(0, MOST_VIEWS);
    this.state.views = known.length ? known : this.defaultViews();
    this.state.frame = Math.min(this.state.frame, clip.steps - 1);
    await this.rebuild();
    this.element.setAttribute("aria-busy", "false");
  }

  /** Every agent of the clip, at most three, each with its first map. */
  defaultViews() {
    return [...this.clip.observers.keys()].slice(0, 3).map((agent) => ({ agent, map: null }));
  }

  /** Build the views, the marks and the time lines anew. */
  async rebuild() {
    const { clip, state } = this;
    state.views = state.views.map((view) => {
      const maps = [...clip.observers.get(view.agent).maps.keys()];
      return { agent: view.agent, map: maps.includes(view.map) ? view.map : (maps[0] ?? null) };
    });
    this.views = state.views.map((_, i) => this.views[i] ?? new View(this, i));
    await Promise.all(this.views.map((view, i) => view.set(state.views[i])));
    const names = [...new Set(this.views.flatMap((view) => [...view.observer.replacements.keys()]))];
    if (!names.includes(state.instead)) state.instead = names[0] ?? null;
    state.boxes = state.boxes.filter((kind) => clip.boxes?.kinds.includes(kind));
    this.viewsBox.replaceChildren(...this.views.map((view) => view.element));
    this.viewsBox.dataset.views = this.views.length;
    this.addButton.disabled = this.views.length >= MOST_VIEWS;
    this.fillControls();
    this.redraw();
  }

  async changeView(index, view) {
    this.state.views[index] = view;
    await this.rebuild();
  }

  async addView() {
    if (this.views.length >= MOST_VIEWS) return;
    const shown = this.state.views.map((view) => view.agent);
    const agents = [...this.clip.observers.keys()];
    this.state.views.push({ agent: agents.find((id) => !shown.includes(id)) ?? agents[0], map: null });
    await this.rebuild();
  }

  async removeView(index) {
    this.state.views.splice(index, 1);
    await this.rebuild();
    this.addButton.focus();
  }

  /** Change part of the state and draw. */
  change(part) {
    Object.assign(this.state, part);
    this.fillControls();
    this.redraw();
  }

  setRegion(region, finished) {
    this.state.region = region;
    if (finished) this.redraw();
    else this.views.forEach((view) => view.drawMarks(this.state.frame));
    this.regionInputs.forEach((input, i) => (input.value = region ? region[i] : ""));
  }

  /** Draw all that does not change from frame to frame, then the frame. */
  redraw() {
    const { clip, state, views } = this;
    this.timelines.set(seriesOf(clip, views, state), clip.steps);
    this.whatIf.set(views, state.instead, clip);
    views.forEach((view) => view.drawScale(this.maximumOf(view)));
    views.forEach((view) => view.describe(state.frame));
    this.seek(state.frame);
  }

  /** The end of a view's colour scale: shared with the views that show the same method, unless told not to. */
  maximumOf(view, t = null) {
    if (this.state.perFrame && t !== null) return view.brightest(t);
    if (!this.state.shared || !view.map) return view.maximum;
    const alike = this.views.filter((other) => other.map?.record.id === view.map.record.id);
    return Math.max(...alike.map((other) => other.maximum));
  }

  /** Go to a frame; resolves once it is drawn. */
  async seek(frame) {
    const { clip } = this;
    const t = Math.min(Math.max(frame, 0), clip.steps - 1);
    this.state.frame = t;
    if (!clip.pictures.at(t)) await clip.pictures.load(t);
    if (this.state.frame === t && this.clip === clip) this.drawFrame(t);
  }

  drawFrame(t) {
    const { clip } = this;
    for (const view of this.views) {
      const maximum = this.maximumOf(view, t);
      view.draw(t, maximum);
      if (this.state.perFrame) view.drawScale(maximum);
    }
    this.timelines.at(t);
    this.whatIf.at(t, clip);
    this.bar.value = t;
    const seconds = (t / clip.record.fps).toFixed(1);
    const earned = clip.returns ? `, return ${clip.returns[t]}` : "";
    this.time.textContent = `frame ${t + 1} of ${clip.steps}, ${seconds} s${earned}`;
    this.bar.setAttribute("aria-valuetext", this.time.textContent);
    this.drawn = t;
    if (!this.playing) this.settle();
  }

  /** What only a standing picture needs. */
  settle() {
    clearTimeout(this.settling);
    this.settling = setTimeout(() => {
      this.views.forEach((view) => view.describe(this.state.frame));
      showHash(writeHash(this.state));
    }, 200);
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  play() {
    if (this.state.frame >= this.clip.steps - 1) this.state.frame = 0;
    this.playing = true;
    this.playButton.textContent = "Pause";
    let last = performance.now(), due = 0;
    const step = async (now) => {
      if (!this.playing) return;
      due += ((now - last) / 1000) * this.clip.record.fps * this.state.speed;
      last = now;
      const whole = Math.floor(due);
      if (whole >= 1) {
        due = Math.min(due - whole, 1);
        const t = this.state.frame + whole;
        if (t >= this.clip.steps - 1) return void (await this.seek(t), this.pause());
        await this.seek(t);
        this.clip.pictures.load(t + this.clip.record.frames.block);
      }
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  pause() {
    this.playing = false;
    this.playButton.textContent = "Play";
    if (this.views.length) this.settle();
  }

  /** The link that brings back this moment. */
  link() {
    return location.href.replace(/#.*/s, "") + writeHash(this.state);
  }

  build() {
    const { state } = this;
    this.viewsBox = h("div", { class: "views" });
    this.playButton = h("button", { type: "button", class: "play", onclick: () => this.toggle() }, "Play");
    this.bar = h("input", { type: "range", min: 0, max: 0, value: 0, class: "scrub", "aria-label": "Frame", oninput: () => this.seek(Number(this.bar.value)) });
    this.time = h("output", { class: "time" });
    this.bookmarks = h("ol", { class: "bookmarks", "aria-label": "Bookmarks" });
    this.marks = h("div", { class: "bookmark-marks", "aria-hidden": "true" });
    this.addButton = h("button", { type: "button", onclick: () => this.addView() }, "Add a view");
    this.clipChoice = choice("Game", [...this.clips].map(([id, clip]) => [id, clip.record.label]), state.clip, (id) => this.openClip(id));
    this.about = h("p", { class: "note" });
    this.element = h(
      "section", { id: "player", "aria-labelledby": "player-title" },
      h("h2", { id: "player-title" }, "Player"),
      h("div", { class: "toolbar" }, this.clipChoice.element, this.addButton, copyButton(() => this.link(), "Copy link to this moment")),
      this.about,
      this.lookControls(),
      this.viewsBox,
      h("div", { class: "transport" }, this.playButton,
        h("button", { type: "button", "aria-label": "One frame back", onclick: () => this.nudge(-1) }, "‹"),
        h("button", { type: "button", "aria-label": "One frame on", onclick: () => this.nudge(1) }, "›"),
        this.speedChoice().element, this.time),
      h("div", { class: "scrubber" }, this.bar, this.marks),
      this.timelines.element,
      h("h3", {}, "Bookmarks"), this.bookmarks,
      this.whatIf.element,
      this.regionControls(),
      this.keyHelp(),
    );
  }

  lookControls() {
    this.shows = SHOWS.map(([value, text]) => {
      const input = h("input", { type: "radio", name: "show", value, onchange: () => this.change({ show: value }) });
      return { input, element: h("label", {}, input, h("span", {}, text)) };
    });
    this.opacity = h("input", { type: "range", min: 0, max: 1, step: 0.05, oninput: () => this.change({ opacity: Number(this.opacity.value) }) });
    this.shared = tick("one scale for views of the same map", true, (shared) => this.change({ shared }));
    this.perFrame = tick("scale each frame by itself", false, (perFrame) => this.change({ perFrame }));
    this.gaze = tick("human gaze", true, (gaze) => this.change({ gaze }));
    this.boxes = h("fieldset", { class: "kinds" });
    return h(
      "div", { class: "look" },
      h("fieldset", { class: "shows" }, h("legend", {}, "Show"), this.shows.map(({ element }) => element)),
      h("label", { class: "choice" }, h("span", {}, "Opacity"), this.opacity),
      this.shared.element, this.perFrame.element, this.gaze.element, this.boxes,
    );
  }

  speedChoice() {
    const speeds = [0.25, 0.5, 1, 2, 4].map((speed) => [String(speed), `${speed}×`]);
    return choice("Speed", speeds, "1", (speed) => (this.state.speed = Number(speed)));
  }

  regionControls() {
    this.regionInputs = ["left", "top", "width", "height"].map((label) => h("input", {
      type: "number", min: 0, max: 210, "aria-label": `Region: ${label}, in pixels of the screen`, onchange: () => this.typedRegion(),
    }));
    return h(
      "details", { class: "region-form" }, h("summary", {}, "Region: how much of a map lies in it over time"),
      h("p", { class: "note" }, "Drag on a picture, or give left, top, width and height in pixels of the 160x210 screen."),
      h("div", { class: "toolbar" }, this.regionInputs, h("button", { type: "button", onclick: () => this.setRegion(null, true) }, "Clear")),
    );
  }

  typedRegion() {
    const region = this.regionInputs.map((input) => Math.round(Number(input.value)));
    if (this.regionInputs.every((input) => input.value !== "") && region[2] > 0 && region[3] > 0) this.setRegion(region, true);
  }

  keyHelp() {
    this.keys = tick("keyboard shortcuts", true, () => {});
    const keys = [
      ["space", "play or pause"], ["← →", "one second"], [", .", "one frame"], ["1 … 9", "a tenth … nine tenths of the clip"],
      ["Home End", "first and last frame"], ["b B", "next and previous bookmark"],
    ];
    return h("details", { class: "keys" }, h("summary", {}, "Keyboard"), this.keys.element,
      h("ul", {}, keys.map(([key, what]) => h("li", {}, h("kbd", {}, key), ` ${what}`))));
  }

  nudge(frames) {
    this.pause();
    return this.seek(this.state.frame + frames);
  }

  /** The next bookmark in a direction, 1 or -1. */
  jump(direction) {
    const frames = this.clip.record.bookmarks.map(({ frame }) => frame).sort((a, b) => a - b);
    const ahead = frames.filter((frame) => direction * (frame - this.state.frame) > 0);
    if (ahead.length) this.nudge((direction > 0 ? ahead[0] : ahead.at(-1)) - this.state.frame);
  }

  /** A box to tick for every kind of object: its boxes are drawn, and the map's mass on it over time. */
  fillKinds() {
    const { clip, state } = this;
    this.boxes.hidden = !clip.boxes;
    if (!clip.boxes || this.kindsOf === clip) {
      this.kinds?.forEach(({ kind, input }) => (input.checked = state.boxes.includes(kind)));
      return;
    }
    this.kindsOf = clip;
    this.kinds = clip.boxes.kinds.map((kind) => ({ kind, ...tick(kind, state.boxes.includes(kind), (on) => this.change({
      boxes: clip.boxes.kinds.filter((each) => (each === kind ? on : this.state.boxes.includes(each))),
    })) }));
    const from = clip.boxes.from === "memory" ? "from the emulator's memory" : "what moves, from pixels";
    this.boxes.replaceChildren(h("legend", {}, `Objects, ${from}`), ...this.kinds.map(({ element }) => element));
  }

  fillControls() {
    const { clip, state } = this;
    this.bar.max = clip.steps - 1;
    this.clipChoice.select.value = state.clip;
    this.about.textContent = clip.record.description;
    for (const { input } of this.shows) input.checked = input.value === state.show;
    this.opacity.value = state.opacity;
    this.shared.input.checked = state.shared;
    this.perFrame.input.checked = state.perFrame;
    this.gaze.element.hidden = !clip.gaze;
    this.gaze.input.checked = state.gaze;
    this.fillKinds();
    this.regionInputs.forEach((input, i) => (input.value = state.region ? state.region[i] : ""));
    this.bookmarks.replaceChildren(...clip.record.bookmarks.map(({ frame, kind, text }) => h("li", {}, h(
      "button", { type: "button", class: `bookmark ${kind}`, onclick: () => this.nudge(frame - this.state.frame) },
      h("b", {}, `${(frame / clip.record.fps).toFixed(1)} s`), ` ${text}`,
    ))));
    this.marks.replaceChildren(...clip.record.bookmarks.map(({ frame, kind }) => {
      const mark = h("i", { class: kind });
      mark.style.left = `${(100 * frame) / Math.max(clip.steps - 1, 1)}%`;
      return mark;
    }));
  }
}
