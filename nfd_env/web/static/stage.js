// What is shown and what is held: canvases, keyboard, mouse, touch.

const NAMED = {
  ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down",
  Space: "space", ShiftLeft: "shift", ShiftRight: "shift",
};
const MOUSE = ["mouse left", "mouse middle", "mouse right"];

// A canvas that shows pictures in the order in which they came, however long decoding takes.
export class Screen {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.asked = 0;
    this.shown = 0;
  }

  async show(picture, done) {
    const turn = ++this.asked;
    const bitmap = await createImageBitmap(new Blob([picture]));
    if (turn < this.shown) return bitmap.close();
    this.shown = turn;
    const { canvas } = this;
    if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
      canvas.width = bitmap.width;
      canvas.height = bitmap.height;
    }
    this.context.drawImage(bitmap, 0, 0);
    bitmap.close();
    done?.();
  }
}

// Keys that are held, and how far the mouse went since it was last asked.
export class Held {
  constructor(canvas, onpress) {
    this.canvas = canvas;
    this.onpress = onpress;
    this.keys = [];
    this.known = new Set();
    this.mouse = [0, 0];
    this.camera = false;
    addEventListener("keydown", (event) => this.down(event));
    addEventListener("keyup", (event) => this.release(nameOf(event)));
    addEventListener("blur", () => this.clear());
    canvas.addEventListener("pointerdown", (event) => this.pointerDown(event));
    canvas.addEventListener("pointermove", (event) => this.pointerMove(event));
    canvas.addEventListener("pointerup", (event) => this.pointerUp(event));
    canvas.addEventListener("pointercancel", (event) => this.pointerUp(event));
    canvas.addEventListener("contextmenu", (event) => this.camera && event.preventDefault());
  }

  use(controls) {
    this.known = new Set(controls.bindings.flatMap((binding) => binding.keys));
    this.camera = controls.mouse;
    this.clear();
  }

  press(key) {
    if (!this.known.has(key) || this.keys.includes(key)) return;
    this.keys.push(key); // in order: of opposites the last one counts
    this.changed();
    this.onpress(key);
  }

  release(key) {
    this.keys = this.keys.filter((held) => held !== key);
    this.changed();
  }

  clear() {
    this.keys = [];
    this.mouse = [0, 0];
    this.changed();
  }

  changed() {
    for (const pad of document.querySelectorAll("#pad button")) {
      pad.classList.toggle("held", pad.dataset.keys.split(",").some((k) => this.keys.includes(k)));
    }
  }

  takeMouse() {
    const moved = this.mouse.map((value) => Math.round(value * 100) / 100);
    this.mouse = [0, 0];
    return moved;
  }

  down(event) {
    const target = event.target;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (target.closest?.("input, select, textarea, dialog")) return;
    const name = nameOf(event);
    if (target.closest?.("button, a") && (name === "space" || event.key === "Enter")) return;
    if (!this.known.has(name)) return;
    event.preventDefault(); // arrows and the space bar would scroll
    if (!event.repeat) this.press(name);
  }

  pointerDown(event) {
    this.canvas.focus();
    if (!this.camera) return;
    if (event.pointerType === "mouse") {
      if (document.pointerLockElement !== this.canvas) this.canvas.requestPointerLock?.();
      else this.press(MOUSE[event.button]);
    } else {
      this.canvas.setPointerCapture(event.pointerId);
    }
  }

  pointerMove(event) {
    if (!this.camera) return;
    const locked = document.pointerLockElement === this.canvas;
    if (!locked && event.pointerType === "mouse") return;
    this.mouse[0] += event.movementX;
    this.mouse[1] += event.movementY;
  }

  pointerUp(event) {
    if (event.pointerType === "mouse") this.release(MOUSE[event.button]);
  }
}

function nameOf(event) {
  if (event.code in NAMED) return NAMED[event.code];
  if (event.code.startsWith("Digit")) return event.code.slice(5);
  return event.key.toLowerCase();
}

// A button for every binding, for fingers; it also says which keys there are.
export function drawPad(pad, controls, held) {
  const { element } = pad;
  // Left is on the left.
  const order = (binding) => (/left/.test(binding.does) ? 0 : /right/.test(binding.does) ? 2 : 1);
  const sorted = [...controls.bindings].sort((one, other) => order(one) - order(other));
  pad.element.replaceChildren(...sorted.map((binding) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = binding.does;
    made.dataset.keys = binding.keys.join(",");
    for (const key of binding.keys) {
      const cap = document.createElement("kbd");
      cap.textContent = key;
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
    made.addEventListener("click", (event) => event.detail === 0 && pad.once(key));
    return made;
  }));
  element.hidden = !controls.bindings.length;
}
