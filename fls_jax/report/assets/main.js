// The page: a report of agents, or the index of a study.

import { readDocument } from "./data.js";
import { h, name } from "./dom.js";
import { studyIndex } from "./index_page.js";
import { measurements, overview, problems } from "./overview.js";
import { Player } from "./player.js";
import { provenance } from "./provenance.js";
import { themeChoice } from "./theme.js";

const HEADINGS = { overview: "Overview", player: "Player", measurements: "Measurements", provenance: "How made", problems: "Left out" };

function build(report) {
  document.getElementById("title").append(name(report.title));
  document.getElementById("tools").append(themeChoice());
  const main = document.getElementById("main");
  const player = report.clips.length ? new Player(report) : null;
  const sections = report.kind === "index"
    ? [studyIndex(report), problems(report), provenance(report)]
    : [player?.element, overview(report), measurements(report), problems(report), provenance(report)];
  main.append(...sections.filter(Boolean));
  document.getElementById("nav").append(...[...main.querySelectorAll(":scope > section")].map(
    ({ id }) => h("a", { href: `#${id}` }, HEADINGS[id] ?? id),
  ));
  document.getElementById("made").append(
    h("p", {}, "Made ", h("time", { datetime: report.made.at }, report.made.at.replace("T", " ").replace("Z", " UTC")),
      " by fls_jax. The data of this page are JSON in its element ", h("code", {}, "report-data"), "."),
  );
  return player;
}

const player = build(readDocument());
await player?.start();
document.body.dataset.ready = "yes";
window.flsReport = player; // for tests and for the curious
