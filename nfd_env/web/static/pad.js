// The buttons under the picture: one for every key that does something, for fingers; they also say
// which keys there are.
//
// A few stand in a row. Where there are many, as in Minecraft, those that move and those that turn
// the camera lie as on a game pad, the most usual others below, and the rest folds away.
import { element } from "./tree.js";

const FEW = 8; // as many fit into three rows on a phone
const UP = ["up", "↑"], LEFT = ["left", "←"], DOWN = ["down", "↓"], RIGHT = ["right", "→"];
const MOVE = { forward: UP, up: UP, left: LEFT, back: DOWN, down: DOWN, right: RIGHT };
const LOOK = { "look up": UP, "turn left": LEFT, "look down": DOWN, "turn right": RIGHT };
const USUAL = ["jump", "attack", "use", "sprint", "sneak"];
const CAPS = { left: "←", right: "→", up: "↑", down: "↓" }; // "left" reads as an action
const NUMBERED = /^(.*\S) (\d+)$/;
const LINE = 3; // as many numbered ones of a name get a line of their own

// Draws a button for each of `bindings`. A press is `held`'s; `once(key)` is one by keyboard.
// `unfolded` and `onfold(open)`: whether the rest is shown, and that somebody changed it.
export function drawPad(pad, bindings, held, { once, unfolded, onfold }) {
  const make = (binding, words) => drawButton(binding, words, held, once);
  const many = bindings.length > FEW;
  pad.classList.toggle("many", many);
  pad.hidden = !bindings.length;
  if (!many) {
    // Left is on the left.
    const order = ({ does }) => (/left/.test(does) ? 0 : /right/.test(does) ? 2 : 1);
    const sorted = [...bindings].sort((one, other) => order(one) - order(other));
    return pad.replaceChildren(...sorted.map((binding) => make(binding)));
  }
  const { move, look, usual, rest } = arrange(bindings);
  pad.replaceChildren(
    ...cross("move", move, MOVE, make),
    ...cross("look", look, LOOK, make),
    ...group("usual", usual, make),
    ...(rest.length ? [drawFold(rest, make, unfolded, onfold)] : []),
  );
  pad.classList.toggle("sided", Boolean(move.length) !== Boolean(look.length));
}

// Which of many bindings stand where.
function arrange(bindings) {
  const placed = (map) => {
    const found = new Map(); // of forward and up the first is in the cross, the other elsewhere
    for (const binding of bindings) {
      const place = map[binding.does]?.[0];
      if (place && !found.has(place)) found.set(place, binding);
    }
    return ["up", "left", "down", "right"].flatMap((place) => found.get(place) ?? []);
  };
  const move = placed(MOVE), look = placed(LOOK);
  const others = bindings.filter((binding) => !move.includes(binding) && !look.includes(binding));
  const rank = ({ does }) => (USUAL.includes(does) ? USUAL.indexOf(does) : USUAL.length);
  const room = move.length && look.length ? 5 : move.length || look.length ? 6 : 20;
  const sorted = [...others].sort((one, other) => rank(one) - rank(other));
  const usual = sorted.slice(0, room), rest = sorted.slice(room);
  return { move, look, usual, rest };
}

function group(name, bindings, make, label = name) {
  if (!bindings.length) return [];
  const made = element("div", name);
  made.setAttribute("role", "group");
  made.setAttribute("aria-label", label);
  made.append(...bindings.map((binding) => make(binding)));
  return [made];
}

// Four directions around a middle; an arrow says enough where there is no room for words.
function cross(name, bindings, places, make) {
  const [made] = group(name, bindings, (binding) => {
    const [place, arrow] = places[binding.does];
    const button = make(binding);
    const sign = element("span", "arrow");
    sign.textContent = arrow;
    sign.setAttribute("aria-hidden", "true");
    button.prepend(sign);
    button.classList.add(place);
    return button;
  });
  if (!made) return [];
  const title = element("span", "title");
  title.textContent = name;
  title.setAttribute("aria-hidden", "true"); // the group is named so
  made.prepend(title);
  return [made];
}

// The rest; hotbar 1 to 9 get a line of their own, in which the number is enough.
function drawFold(rest, make, unfolded, onfold) {
  const fold = element("details"), summary = element("summary");
  summary.textContent = `${rest.length} more`;
  const stems = new Map();
  for (const binding of rest) {
    const stem = binding.does.match(NUMBERED)?.[1];
    if (stem) stems.set(stem, [...(stems.get(stem) ?? []), binding]);
  }
  const lines = [...stems].filter(([, found]) => found.length >= LINE);
  const numbered = new Set(lines.flatMap(([, found]) => found));
  fold.append(summary, ...group("rest", rest.filter((one) => !numbered.has(one)), make));
  for (const [stem, found] of lines) {
    const title = element("span", "title");
    title.textContent = stem;
    title.setAttribute("aria-hidden", "true");
    const short = (binding) => make(binding, binding.does.match(NUMBERED)[2]);
    const [line] = group("numbered", found, short, stem);
    line.prepend(title);
    fold.append(line);
  }
  fold.open = unfolded;
  fold.addEventListener("toggle", () => {
    if (fold.open !== unfolded) onfold(fold.open); // not at the first time, when nobody touched it
    unfolded = fold.open;
  });
  return fold;
}

function drawButton(binding, words, held, once) {
  const made = element("button"), word = element("span", "word");
  made.type = "button";
  made.title = `${binding.does}: ${binding.keys.join(", ")}`;
  made.setAttribute("aria-label", binding.does);
  made.dataset.keys = binding.keys.join(",");
  word.textContent = words ?? binding.does;
  made.append(word);
  for (const key of binding.keys) {
    const cap = element("kbd");
    cap.textContent = CAPS[key] ?? (key.length === 1 ? key.toUpperCase() : key);
    made.append(cap);
  }
  const key = binding.keys[0];
  made.addEventListener("pointerdown", (event) => {
    made.setPointerCapture(event.pointerId);
    held.press(key);
  });
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
    made.addEventListener(end, () => held.release(key));
  }
  made.addEventListener("contextmenu", (event) => event.preventDefault());
  // By keyboard: one step with this action.
  made.addEventListener("click", (event) => event.detail === 0 && once(key));
  return made;
}
