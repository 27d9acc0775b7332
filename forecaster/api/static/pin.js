"use strict";
// The pin on the service page: a number of units by hand, for a while, and its end.
let pinShown = "";

function pinEnds() {
  const until = overview.now_s + 3600 * Number(byId("pin-hours").value);
  byId("pin-until").textContent = say("until {time}", { time: minute(until) });
}

function showPin(s) {
  const pin = s.pin && s.pin.until_s > overview.now_s ? s.pin : null;
  byId("pinned").hidden = !pin;
  if (pin) byId("pinned-said").textContent = say("{n} units until {time}", { n: pin.units, time: minute(pin.until_s) }) + (pin.why ? " · " + pin.why : "");
  if (pinShown !== s.name) {  // the form is the user's own while it is filled in
    pinShown = s.name;
    const units = byId("pin-units");
    units.min = s.limits.min_units;
    units.max = s.limits.max_units;
    units.step = s.limits.step_units;
    units.value = s.hold_units ?? s.limits.min_units;
    byId("pin-why").value = "";
  }
  pinEnds();
}

function bindPin() {
  byId("unpin").onclick = () => order("DELETE", pathOf(service().name, "pin"));
  byId("pin-hours").onchange = pinEnds;
  byId("pin-form").onsubmit = (event) => {
    event.preventDefault();
    order("PUT", pathOf(service().name, "pin"), { units: Number(byId("pin-units").value),
      seconds: 3600 * Number(byId("pin-hours").value), why: byId("pin-why").value });
  };
}
