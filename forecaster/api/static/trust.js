"use strict";
// What an operator may do: the mode, the freeze, the answer to an order that waits.
function showTrust(s) {
  if (document.activeElement !== byId("mode")) byId("mode").value = s.mode;
  byId("freeze").setAttribute("aria-pressed", String(s.frozen));
  byId("freeze").textContent = s.frozen ? say("Frozen") : say("Freeze");
  const waits = s.waiting && !s.waiting.declined;
  byId("waiting").hidden = !waits;
  if (waits) byId("waiting-order").textContent = say("Waits for your word: {why}", { why: s.waiting.why });
}

async function order(method, path, body) {
  // what was refused stays in view until the next order: the frame's own problems come and go
  const answer = await fetch(path, { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  byId("refused").hidden = answer.ok;
  if (!answer.ok) byId("refused").textContent = (await answer.json()).detail;
  return answer.ok;
}
const answerOrder = (approved) => service().waiting && order("POST", pathOf(service().name, "answer"), { order_id: service().waiting.order_id, approved, why: "dashboard" });

function bindOrders() {
  bindPin();
  byId("approve").onclick = () => answerOrder(true);
  byId("decline").onclick = () => answerOrder(false);
  byId("mode").onchange = (event) => { order("PUT", pathOf(service().name, "mode"), { mode: event.target.value, why: "dashboard" }); event.target.blur(); };
  byId("freeze").onclick = () => order("PUT", "/v1/freeze", { frozen: !service().frozen, why: "dashboard" });
}

