// How each number was made: commands, configuration, commit, seeds, machine.

import { copyButton, h, name } from "./dom.js";

/** The section. */
export function provenance(report) {
  return h(
    "section", { id: "provenance", "aria-labelledby": "provenance-title" },
    h("h2", { id: "provenance-title" }, "How each number was made"),
    facts([["this report", report.made.command, true], ...origin(report.made)]),
    report.agents.map(agentDetails),
  );
}

function agentDetails(agent) {
  const training = agent.sessions.flatMap((session, i) => [
    [agent.sessions.length > 1 ? `session ${i + 1}` : "trained", `from step ${session.env_step.toLocaleString("en-US")}`],
    ...origin(session),
  ]);
  return h(
    "details", {},
    h("summary", {}, name(agent.label), ` (${agent.game}, step ${agent.env_step.toLocaleString("en-US")})`),
    facts([
      ["run folder", agent.path],
      ...agent.commands.map(({ what, command }) => [what, command, true]),
      ["network", agent.description],
      ...training,
    ]),
    h("h3", {}, "Configuration"),
    facts(Object.entries(agent.config).map(([key, value]) => [key, typeof value === "string" ? value : JSON.stringify(value)])),
  );
}

function origin(made) {
  const versions = Object.entries(made.versions ?? {}).map(([key, value]) => `${key} ${value}`).join(", ");
  const { cpu, cores, memory_gib: memory, system } = made.machine ?? {};
  const machine = [cpu, cores && `${cores} cores`, memory && `${memory} GiB`, made.backend, system].filter(Boolean).join(", ");
  return [["commit", made.commit], ["machine", machine], ["versions", versions]].filter(([, value]) => value);
}

function facts(rows) {
  return h("dl", { class: "facts" }, rows.map(([label, value, command]) => h(
    "div", {}, h("dt", {}, label),
    h("dd", {}, command ? [h("code", {}, name(value)), copyButton(value)] : name(String(value))),
  )));
}
