// What can be chosen: speed, denoising steps, and the actions of new starts.
const FASTEST = 120; // well below the messages that a visitor may send in a second

// Fills `select` with [value, words] rows. What was chosen stays, or `kept`, else it is `usual`.
function fill(select, rows, kept, usual) {
  const now = select.value || kept;
  select.replaceChildren(...rows.map(([value, words]) => new Option(words, value)));
  select.value = now ?? usual;
  if (select.selectedIndex < 0) select.value = usual;
}

export function fillSpeeds(select, own, kept) {
  const choices = [2, 5, own, 15, 30, 60].filter((v, i, all) => all.indexOf(v) === i);
  const rows = choices
    .sort((a, b) => a - b)
    .map((value) => [value, `${value} FPS${value === own ? ", as recorded" : ""}`]);
  fill(select, [...rows, [FASTEST, `as fast as it goes, up to ${FASTEST}`]], kept, own);
}

// `sampling`: what the server said of it.
export function fillSampling(select, sampling, kept) {
  const rows = sampling.offered.map((n) => [n, n === sampling.own ? `${n}, the world's own` : n]);
  fill(select, rows, kept, sampling.default);
}

// `modes`: what the server said of them.
export function fillModes(select, modes) {
  const rows = modes.names.map((name) => [name, modeWords(name, modes)]);
  fill(select, rows, null, modes.own);
}

export function modeWords(name, modes) {
  return name === modes.own ? `${name}, the world's own` : name;
}
