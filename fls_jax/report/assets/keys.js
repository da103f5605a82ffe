// The keyboard: as players of films have it. Keys count where nothing else wants them.

const TYPING = "input:not([type=range]):not([type=checkbox]):not([type=radio]), select, textarea";

/** Listen for a player's keys; its tick `keys` switches them off. */
export function listenToKeys(player) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || !player.keys.input.checked || !player.views.length) return;
    const { target } = event;
    if (target.matches?.(TYPING)) return;
    if (target !== document.body && !player.element.contains(target)) return;
    if (event.key === " " && target.matches?.("button, summary, input")) return; // they have a use for it
    if (/^(Arrow|Home|End)/.test(event.key) && target.matches?.("input, [tabindex='0']")) return;
    const act = action(player, event.key);
    if (!act) return;
    event.preventDefault();
    act();
  });
}

function action(player, key) {
  const { clip, state } = player;
  const last = clip.steps - 1;
  const second = clip.record.fps;
  if (/^[1-9]$/.test(key)) return () => player.seek(Math.round((last * Number(key)) / 10));
  return {
    " ": () => player.toggle(),
    ArrowLeft: () => player.seek(state.frame - second),
    ArrowRight: () => player.seek(state.frame + second),
    ",": () => player.nudge(-1),
    ".": () => player.nudge(1),
    Home: () => player.seek(0),
    End: () => player.seek(last),
    b: () => player.jump(1),
    B: () => player.jump(-1),
  }[key];
}
