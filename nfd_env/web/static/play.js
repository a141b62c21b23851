// The page: its connection, its clock, its buttons.
import { Tree, drawBranches, ending, round } from "./tree.js";
import { Held, Screen } from "./stage.js";
import { drawPad } from "./pad.js";
import { fillModes, fillSampling, fillSpeeds, modeWords } from "./choices.js";

const $ = (id) => document.getElementById(id);
const CREDIT = 2; // steps under way: while one travels, the next is imagined
const READING = 120; // milliseconds between numbers while frames come: nobody reads faster
const TURNING = " A click on the picture catches the mouse, which then turns the camera; Esc gives it " +
  "back. A drag turns it too, with mouse or finger; while paused it takes one step.";
const ROOMY = matchMedia("(min-width: 1101px)"); // as in play.css
const NO_HIT = /^(INPUT|SELECT|TEXTAREA)$/;

const screen = new Screen($("screen"));
const other = new Screen($("other"));
const held = new Held($("screen"), {
  onpress: () => pressed(),
  onturn: () => pressed(), // while paused, a drag is one step
  onfree: () => playing && pause(), // as games do: Esc gives the mouse back, and time stands still
});

let socket = null, welcome = null, tree = new Tree(), retry = 0;
let playing = false, replaying = false, imagining = false, waiting = 0, due = 0, fps = 10, timer = 0;
let compared = null, local = null, watching = 0, wanted = null;
let sought = null, next = []; // moments that the server is asked to show, one at a time
let drawn = [], delays = [], written = 0, moved = false, saved = "";

// -- connection ----------------------------------------------------------------------------

function connect() {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  socket = new WebSocket(`${scheme}://${location.host}/ws`);
  socket.binaryType = "arraybuffer";
  let refused = false;
  socket.onopen = () => say({ do: "hello", session: recall("session") });
  socket.onmessage = ({ data }) => {
    if (typeof data !== "string") return frame(data);
    const message = JSON.parse(data);
    if (message.kind === "refused" || message.kind === "ended") {
      refused = message.kind;
      status(message.words, true);
    }
    heard[message.kind]?.(message);
  };
  socket.onclose = () => {
    waiting = 0;
    pause();
    if (refused === "ended") {
      note("Reload the page to play on.");
      return;
    }
    const pausing = refused ? 5000 : Math.min(5000, 400 * 2 ** retry++);
    if (!refused) status("connection lost, trying again", true);
    setTimeout(connect, pausing);
  };
}

function say(message) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

const heard = {
  welcome(message) {
    const resumed = message.session === recall("session");
    welcome = message;
    retry = 0;
    remember("session", message.session);
    tree = new Tree(message.timeline);
    compared = null;
    replaying = false;
    forgetSought();
    document.title = `${message.world.name} · NFD-World`;
    $("title").textContent = message.world.name;
    document.body.style.setProperty("--shape", message.world.shape[1] / message.world.shape[0]);
    setChoices();
    heard.controls(message);
    drawClips();
    status("connected");
    waiting = 0;
    const asked = location.hash.slice(1);
    const link = /^[ps]=/.test(asked) && asked !== recall("opened") ? asked : "";
    if (link) {
      remember("opened", link);
      replay(link, fps);
    } else if (resumed && message.here !== null) {
      say({ do: "go", n: message.here });
    } else if (recall("path")) {
      replay(recall("path")); // the server has forgotten the session: walk the path again
    } else {
      say({ do: "start" });
    }
  },
  // What keys do here: another line may be played with other actions.
  controls({ mode, controls }) {
    welcome.mode = mode;
    held.use(controls);
    drawPad($("pad"), controls.bindings, held, {
      once,
      unfolded: (recall("unfolded") ?? String(ROOMY.matches)) === "true",
      onfold: (open) => remember("unfolded", open),
    });
    const { rest } = controls;
    const resting = rest.length < 40 ? ` (“${rest}”)` : ""; // else a list of all that is not pressed
    $("help").textContent =
      `Enter plays and pauses. While paused, a key takes one step, full stop (.) steps without a ` +
      `key${resting} and comma (,) goes back.` + (held.camera ? TURNING : "");
    $("turning").hidden = !held.camera;
    $("mode-now").textContent = modeWords(mode, welcome.modes);
    $("mode").value = mode;
  },
  branches({ branches }) {
    branches.forEach((branch) => tree.addBranch(branch));
  },
  named({ branch, name }) {
    tree.addBranch({ id: branch, name });
    redraw();
  },
  forgotten({ branches, words }) {
    tree.forget(branches);
    forgetSought();
    if (words) note(words);
    if (branches.includes(compared)) compare(null);
    redraw();
  },
  link({ link, steps }) {
    saved = link;
    if (link.startsWith("p=")) remember("path", link);
    if (!$("sharing").open) return;
    $("link").value = `${location.origin}/#${link}`;
    $("share-words").textContent =
      `${steps} steps. Whoever opens it sees the same frames, one by one.` +
      (link.startsWith("s=") ? " It is kept in this server's memory until it stops." : "");
    $("link").select();
  },
  replaying({ steps }) {
    forgetSought();
    replaying = true;
    status(`replaying ${steps} steps`);
    buttons();
  },
  // Pictures that the server has dropped are imagined again.
  returning({ steps }) {
    imagining = true;
    if (steps > 30) status(`imagining ${steps} steps again`);
    buttons();
  },
  returned() {
    imagining = false;
    if ($("status").textContent.startsWith("imagining")) status("paused");
    buttons();
  },
  dropped({ n }) {
    if (n === wanted) $("other-caption").textContent += " (this picture comes when you pause)";
    seekNext();
  },
  replayed({ same, steps }) {
    replaying = false;
    status(
      same === false
        ? "replayed, but the last frame differs from the recorded one: other hardware or settings"
        : `replayed ${steps} steps${same ? ", the last frame is the recorded one" : ""}`,
      same === false,
    );
    buttons();
    redraw();
  },
  drifted() {
    status("steps that were repeated came out differently: this server is not exact", true);
  },
  stopped() {
    replaying = false;
    forgetSought();
    status("paused");
    buttons();
  },
  error({ words }) {
    waiting = 0;
    replaying = false;
    forgetSought();
    pause();
    stopWatching();
    note(words);
  },
};

function frame(data) {
  const length = new DataView(data).getUint16(0);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 2, length)));
  const picture = new Uint8Array(data, 2 + length);
  tree.add(header, picture);
  if (header.look) return looked(header.n);
  const now = performance.now();
  if (typeof header.c === "number") {
    waiting = Math.max(0, waiting - 1);
    delays.push(now - header.c);
    if (delays.length > 60) delays.shift();
  }
  tree.here = header.n;
  local = null;
  wanted = null;
  forgetSought(); // whoever moves stops what was being imagined again
  moved = true;
  document.body.dataset.moment = header.n;
  screen.show(picture, () => {
    drawn.push(performance.now());
    document.body.dataset.shown = header.n;
  });
  // Laying out text costs a page more than the picture does.
  if (now - written >= READING) {
    written = now;
    numbers(tree.now);
  }
  beside();
  if (header.ended && !replaying) {
    pause();
    const why = header.ended === "terminated" ? "" : ` (${ending(header)})`;
    status(`the episode has ended${why} at step ${header.step}, return ${round(header.total)}: ` +
      "go back, or start anew");
  }
  if (!playing && !replaying) redraw();
  pump();
}

// -- the clock -----------------------------------------------------------------------------

// Sends the next step when it is due, and never more than CREDIT at a time.
function pump() {
  clearTimeout(timer);
  if (!playing) return;
  const now = performance.now();
  if (now >= due && waiting < CREDIT) {
    due = Math.max(due + 1000 / fps, now);
    send();
  }
  // With too many under way the next frame calls.
  if (waiting < CREDIT) timer = setTimeout(pump, Math.max(1, due - performance.now()));
}

function send() {
  if (socket?.readyState !== WebSocket.OPEN) return;
  waiting++;
  const message = { do: "step", keys: held.keys, c: performance.now() };
  if (held.camera) message.mouse = held.takeMouse();
  if ($("sampling").value) message.sampling = Number($("sampling").value);
  say(message);
}

function pressed() {
  if (playing || replaying || imagining || !tree.now) return;
  stopWatching();
  if (waiting < CREDIT) send();
}

function once(key) {
  held.press(key);
  held.release(key);
}

function play() {
  if (!tree.now) return;
  stopWatching();
  if (tree.now.ended) return note("The episode has ended here: go back, or start anew.");
  playing = true;
  held.mouse = [0, 0]; // what the mouse did in a break does not count
  due = performance.now();
  status("playing");
  buttons();
  $("screen").focus({ preventScroll: true });
  pump();
}

function pause() {
  const was = playing;
  playing = false;
  clearTimeout(timer);
  if (was) {
    status("paused");
    keep();
    wanted = null;
    beside(); // with pictures that did not come while time went on
  }
  buttons();
  redraw();
}

function toggle() {
  if (replaying || imagining) say({ do: "stop" });
  else if (playing) pause();
  else play();
}

function go(n) {
  pause();
  stopWatching();
  say({ do: "go", n });
}

function replay(link, pace) {
  const message = { do: "replay", link };
  if (pace) message.fps = pace; // else as fast as it goes
  say(message);
}

// -- looking around ------------------------------------------------------------------------

// Shows a moment without moving there.
function look(n, onto) {
  const picture = tree.pictures.get(n);
  if (picture) return onto.show(picture);
  next = next.filter((asked) => asked.onto !== onto); // of each canvas only the newest counts
  next.push({ n, onto });
  if (sought === null) seekNext();
}

// One at a time: each may take the server many steps. While time goes on it only gives what it has.
function seekNext() {
  sought = next.shift()?.n ?? null;
  if (sought === null) return;
  say({ do: "look", n: sought, kept: playing || replaying });
}

function forgetSought() {
  imagining = false;
  sought = null;
  next = [];
}

function looked(n) {
  const picture = tree.pictures.get(n);
  if (n === (local ?? tree.here)) screen.show(picture);
  if (n === wanted) other.show(picture);
  if (n === sought) seekNext();
}

function showLocal(n) {
  local = n;
  look(n, screen);
  numbers(tree.moments.get(n));
  beside();
}

function compare(id) {
  compared = compared === id ? null : id;
  $("beside").hidden = $("both").hidden = compared === null;
  beside();
  redraw();
}

// The other future at the same step, or its last moment.
function beside() {
  if (compared === null) return;
  if (!tree.branches.has(compared)) return compare(null);
  const step = tree.moments.get(local ?? tree.here)?.step ?? 0;
  const line = tree.line(compared);
  const n = line[Math.min(step, line.length - 1)];
  const moment = tree.moments.get(n);
  if (n !== wanted) look(n, other);
  wanted = n;
  const over = step > moment.step ? `, over since step ${moment.step}` : "";
  const word = moment.ended ? `, ${ending(moment)}` : over;
  $("other-caption").textContent =
    `${tree.branches.get(compared).name}: return ${round(moment.total)}${word}`;
}

function watch() {
  pause();
  stopWatching();
  const mine = tree.current, theirs = tree.line(compared);
  let step = tree.fork(tree.now.branch, compared);
  const last = Math.max(mine.length, theirs.length) - 1;
  watching = setInterval(() => {
    if (sought !== null) return; // its picture is being imagined again
    const n = mine[Math.min(step, mine.length - 1)];
    // Where mine is over the other goes on: its step counts.
    showLocal(n);
    if (step >= mine.length) {
      wanted = theirs[step];
      look(wanted, other);
    }
    if (++step > last) stopWatching(false);
  }, 1000 / fps);
}

function stopWatching(back = true) {
  clearInterval(watching);
  watching = 0;
  if (local !== null && back && tree.here !== null) {
    local = null;
    look(tree.here, screen);
    numbers(tree.now);
    beside();
  }
}

// -- what is written on the page -----------------------------------------------------------

function numbers(moment) {
  if (!moment) return;
  $("n-step").textContent = moment.step;
  $("n-reward").textContent = round(moment.reward);
  $("n-total").textContent = round(moment.total);
  $("n-uncertainty").textContent = moment.uncertainty.toFixed(3);
  const { sampling } = moment, unusual = sampling != null && sampling !== welcome.sampling.own;
  $("caption").textContent =
    (tree.branches.get(moment.branch)?.name ?? "") + (moment.ended ? `: ${ending(moment)}` : "") +
    (unusual ? `, ${sampling} denoising step${sampling === 1 ? "" : "s"}` : "");
  const scrub = $("scrub");
  scrub.max = Math.max(moment.step, tree.current.length - 1);
  scrub.value = moment.step;
  scrub.setAttribute("aria-valuetext", `step ${moment.step}`);
}

function redraw() {
  numbers(tree.moments.get(local) ?? tree.now);
  drawBranches($("branches"), tree, compared, {
    go,
    compare,
    name: rename,
    forget: (id) => say({ do: "forget", branch: id }),
  });
  buttons();
}

function buttons() {
  const now = tree.now, busy = replaying || imagining;
  $("play").textContent = playing ? "Pause" : busy ? "Stop" : "Play";
  $("play").disabled = !now;
  $("back").disabled = busy || !now || now.parent === null;
  $("step").disabled = busy || playing || !now;
  $("restart").disabled = busy || !now;
  $("share").disabled = !now;
}

function status(words, bad = false) {
  $("status").textContent = words;
  $("status").classList.toggle("bad", bad);
  $("status").classList.toggle("long", words.length > 24);
}

let noteTimer = 0;
function note(words) {
  $("message").textContent = words;
  $("message").hidden = false;
  clearTimeout(noteTimer);
  noteTimer = setTimeout(() => ($("message").hidden = true), 6000);
}

function setChoices() {
  const { world, sampling, modes } = welcome;
  fillSpeeds($("speed"), world.fps, recall("speed"));
  fps = Number($("speed").value);
  fillSampling($("sampling"), sampling, recall("sampling"));
  fillModes($("mode"), modes);
  const none = sampling.offered.length < 2;
  $("sampling-row").hidden = none;
  $("mode-row").hidden = $("modes").hidden = !modes.names.length;
  $("settings").hidden = none && !modes.names.length;
}

function drawClips() {
  const [height, width] = welcome.world.shape;
  const count = Math.min(welcome.clips, Math.floor(60000 / height));
  $("clips-title").hidden = !count;
  if ($("clips").childElementCount) return;
  for (let clip = 0; clip < count; clip++) {
    const made = document.createElement("button");
    made.type = "button";
    made.title = `Start ${clip + 1}`;
    made.setAttribute("aria-label", `Start ${clip + 1} of ${count}`);
    made.style.setProperty("--shape", width / height);
    made.style.backgroundSize = `100% ${count * 100}%`;
    made.style.backgroundPositionY = count > 1 ? `${(100 * clip) / (count - 1)}%` : "0";
    made.addEventListener("click", () => start({ clip }));
    $("clips").append(made);
  }
}

function start(what) {
  const seed = $("seed").valueAsNumber;
  if (Number.isSafeInteger(seed) && seed >= 0) what.seed = seed;
  if ($("mode").value) what.mode = $("mode").value;
  pause();
  stopWatching();
  say({ do: "start", ...what });
  $("starts").close();
  $("screen").focus({ preventScroll: true });
}

async function upload() {
  const files = [...$("files").files];
  if (!files.length) return;
  const form = new FormData();
  for (const file of files) form.append("frames", file);
  $("upload-words").textContent = "uploading";
  try {
    const answer = await fetch(`frames?fit=${Number($("fit").checked)}`, {
      method: "POST", body: form, headers: { "X-Session": welcome.session },
    });
    const said = answer.headers.get("Content-Type")?.includes("json")
      ? await answer.json() : { words: await answer.text() };
    $("upload-words").textContent = answer.ok ? "" : said.words;
    if (answer.ok) start({ upload: true });
  } catch {
    $("upload-words").textContent = "The upload did not arrive.";
  }
  $("files").value = "";
}

function rename(branch) {
  $("name").value = branch.name;
  $("naming").returnValue = "";
  $("naming").showModal();
  $("name").select();
  $("naming").onclose = () => {
    if ($("naming").returnValue === "save") {
      say({ do: "name", branch: branch.id, name: $("name").value });
    }
  };
}

// -- what survives a reload ----------------------------------------------------------------

function remember(key, value) {
  try {
    sessionStorage.setItem(key, value);
  } catch { /* private windows may refuse */ }
}

function recall(key) {
  try {
    return sessionStorage.getItem(key);
  } catch {
    return null;
  }
}

// Asks for the path to here, so that it can be walked again even if the server was restarted.
function keep() {
  if (!moved || replaying || !tree.now) return;
  moved = false;
  say({ do: "share", n: tree.here, short: true });
}

setInterval(keep, 3000);
setInterval(() => {
  const now = performance.now();
  drawn = drawn.filter((at) => now - at < 1000);
  $("fps").textContent = drawn.length;
  const sorted = delays.slice().sort((a, b) => a - b);
  $("latency").textContent = sorted.length ? `${sorted[sorted.length >> 1].toFixed(0)} ms` : "–";
  // Not under a finger that is about to let go: its button would be replaced.
  if (playing && !$("branches").matches(":active")) redraw();
}, 500);

// -- buttons and keys ----------------------------------------------------------------------

$("play").onclick = toggle;
$("step").onclick = () => pressed();
$("back").onclick = () => tree.now?.parent != null && go(tree.now.parent);
$("restart").onclick = () => tree.now && go(tree.current[0]);
$("new").onclick = () => {
  pause();
  if (welcome) $("mode").value = welcome.mode;
  held.letGo();
  $("starts").showModal();
};
$("share").onclick = () => {
  pause();
  held.letGo();
  $("link").value = "";
  $("share-words").textContent = "";
  $("sharing").showModal();
  say({ do: "share", n: tree.here });
};
$("copy").onclick = async () => {
  $("link").select();
  try {
    await navigator.clipboard.writeText($("link").value);
    $("share-words").textContent = "Copied.";
  } catch {
    $("share-words").textContent = "Copy it with the keyboard: the link is selected.";
  }
};
$("random").onclick = () => start({});
$("seed").oninput = () => {
  $("random").textContent = $("seed").value ? "With this seed" : "Anywhere";
};
$("seed").onkeydown = (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault(); // it would press the form's first button, which closes it
  start({});
};
$("same").onclick = () => start({ like: tree.here });
$("files").onchange = upload;
$("watch").onclick = watch;
$("apart").onclick = () => compare(null);
$("speed").onchange = () => {
  fps = Number($("speed").value);
  remember("speed", $("speed").value);
  due = performance.now();
};
$("sampling").onchange = () => remember("sampling", $("sampling").value);
$("scrub").oninput = () => {
  if (playing) pause();
  const n = tree.current[$("scrub").valueAsNumber];
  if (n !== undefined) showLocal(n);
};
$("scrub").onchange = () => {
  const n = tree.current[$("scrub").valueAsNumber];
  if (n !== undefined) say({ do: "go", n });
};
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const { target } = event;
  if (NO_HIT.test(target.tagName) || target.closest?.("dialog")) return;
  if (event.key === "Enter" && !target.closest?.("button, a, summary")) toggle();
  else if (event.key === "Escape" && playing) pause();
  else if (event.key === "." && !playing) pressed();
  else if (event.key === "," && tree.now?.parent != null) go(tree.now.parent);
});
// A link pasted into the address of an open page.
addEventListener("hashchange", () => {
  const link = location.hash.slice(1);
  if (!/^[ps]=/.test(link)) return;
  remember("opened", link);
  pause();
  replay(link, fps);
});
document.addEventListener("visibilitychange", () => document.hidden && playing && pause());

connect();
