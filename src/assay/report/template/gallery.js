"use strict";
(() => {
  const gallery = document.getElementById("gallery");
  if (!gallery) return;
  const list = gallery.querySelector(".cases");
  const cases = [...list.querySelectorAll(".case")];
  const rest = list.querySelector("noscript");
  // What was parsed apart loads no picture before it is put into the page.
  if (rest) cases.push(...new DOMParser().parseFromString(rest.textContent, "text/html").querySelectorAll(".case"));
  const page = 100;
  let most = page;
  const first = new Map(cases.map((one, place) => [one, place]));
  const bar = document.createElement("form");
  bar.className = "tools";
  bar.addEventListener("submit", (event) => event.preventDefault());
  const field = (label, control) => {
    const box = document.createElement("label");
    box.append(label, control);
    bar.append(box);
    return control;
  };
  const choice = (label, options) => {
    const select = document.createElement("select");
    for (const [value, text] of options) select.append(new Option(text, value));
    return field(label, select);
  };
  const reasons = [...new Set(cases.map((one) => one.dataset.why).filter(Boolean))];
  const show = choice("show ", [["", "all images"], ["wrong", "wrong predictions"], ["right", "right predictions"],
    ...reasons.map((why) => ["why:" + why, why])]);
  const scores = cases.map((one) => JSON.parse(one.dataset.scores || "{}"));
  const keys = [...new Set(scores.flatMap((one) => Object.keys(one)))];
  const order = choice("order ", [["", "failures first"], ["surest", "surest first"], ["unsure", "least sure first"],
    ...keys.flatMap((key) => [["+" + key, key + ", lowest first"], ["-" + key, key + ", highest first"]])]);
  const name = field("name ", Object.assign(document.createElement("input"), { type: "search", size: 12 }));
  const slider = field("image under the maps ", Object.assign(document.createElement("input"), { type: "range", min: 0, max: 100, value: 0 }));
  const told = document.createElement("output");
  bar.append(told);
  list.before(bar);
  const more = Object.assign(document.createElement("button"), { type: "button", className: "further" });
  list.after(more);
  const value = (one) => {
    const how = order.value;
    if (how === "") return first.get(one);
    if (how === "surest" || how === "unsure") {
      const sure = parseFloat(one.dataset.probability);
      return Number.isNaN(sure) ? Infinity : how === "surest" ? -sure : sure;
    }
    const found = scores[first.get(one)][how.slice(1)];
    return found === undefined || found === null ? Infinity : how[0] === "-" ? -found : found;
  };
  const wanted = (one) => {
    const how = show.value;
    const text = name.value.trim().toLowerCase();
    if (text && !one.dataset.name.toLowerCase().includes(text)) return false;
    return how === "" || (how.startsWith("why:") ? one.dataset.why === how.slice(4) : one.dataset.correct === (how === "right" ? "yes" : "no"));
  };
  const update = () => {
    const found = cases.filter(wanted).sort((a, b) => value(a) - value(b) || first.get(a) - first.get(b));
    list.replaceChildren(...found.slice(0, most));
    told.textContent = found.length + " of " + cases.length;
    more.hidden = found.length <= most;
    more.textContent = "show " + Math.min(page, found.length - most) + " more";
  };
  const upTo = (many) => {
    most = many;
    update();
  };
  for (const control of [show, order, name]) control.addEventListener("input", () => upTo(page));
  more.addEventListener("click", () => {
    const seen = list.children.length;
    upTo(most + page);
    list.children[seen].querySelector(".frame").focus();
  });
  slider.addEventListener("input", () => {
    const share = slider.value / 100;
    for (const one of cases) {
      const photo = one.querySelector(".subject img").src;
      for (const frame of one.querySelectorAll(".tile .frame")) {
        frame.style.backgroundImage = share ? `url("${photo}")` : "";
        frame.querySelector("img").style.opacity = 1 - 0.85 * share;
      }
    }
  });
  const dialog = document.createElement("dialog");
  dialog.className = "zoom";
  dialog.addEventListener("click", () => dialog.close());
  document.body.append(dialog);
  gallery.addEventListener("click", (event) => {
    const button = event.target.closest(".frame");
    if (button) zoom(button);
  });
  gallery.addEventListener("keydown", (event) => {
    const button = event.target.closest(".frame");
    if (button && (event.key === "Enter" || event.key === " ")) {
      event.preventDefault();
      zoom(button);
    }
  });
  const zoom = (frame) => {
    const close = Object.assign(document.createElement("button"), { type: "button", textContent: "close" });
    const large = frame.cloneNode(true);
    large.removeAttribute("tabindex");
    const line = document.createElement("p");
    line.textContent = large.querySelector("img").alt;
    dialog.replaceChildren(large, line, close);
    dialog.showModal();
    close.focus();
  };
  for (const frame of cases.flatMap((one) => [...one.querySelectorAll(".frame")])) {
    frame.tabIndex = 0;
    frame.setAttribute("role", "button");
    frame.setAttribute("aria-label", "enlarge: " + frame.querySelector("img").alt);
  }
  update();
})();
