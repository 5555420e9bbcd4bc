"use strict";

const $ = (id) => document.getElementById(id);

// The token comes once, behind the #, which no server and no log sees; then it leaves the address bar.
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  sessionStorage.setItem("token", given);
  history.replaceState(null, "", location.pathname);
}
let conversation = null;

function request(path, options = {}) {
  const headers = { authorization: `Bearer ${sessionStorage.getItem("token")}`, ...options.headers };
  const tenant = sessionStorage.getItem("tenant");
  if (tenant) headers["x-docbrain-tenant"] = tenant;
  return fetch(path, { ...options, headers });
}

async function problemOf(response) {
  try {
    return await response.json();
  } catch {
    return { title: `The server answered with status ${response.status}`, detail: "", code: "unknown" };
  }
}

function words(problem) {
  const id = problem.request_id ? `, request ${problem.request_id}` : "";
  return `${problem.title}: ${problem.detail} (${problem.code}${id})`;
}

function element(name, text, className) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function askForAccess(text) {
  $("notice").textContent = text;
  $("access").hidden = false;
  $("ask").hidden = true;
  $("token").value = sessionStorage.getItem("token") ?? "";
}

async function start() {
  if (!sessionStorage.getItem("token")) return askForAccess("");
  const response = await request("chatbots");
  if (!response.ok) return askForAccess(words(await problemOf(response)));
  const { chatbots } = await response.json();
  $("chatbot").replaceChildren(
    ...chatbots.map((bot) => {
      const option = element("option", bot.display_name);
      option.value = bot.id;
      return option;
    }),
  );
  $("access").hidden = true;
  $("ask").hidden = chatbots.length === 0;
  $("notice").textContent = chatbots.length === 0 ? "There is no chatbot yet: apply one with `docbrain apply -f FILE`." : "";
  if (chatbots.length > 0) $("question").focus();
}

// The events of a text/event-stream: [name, data] each.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const lines = block.split("\n");
      const all = (field) => lines.filter((line) => line.startsWith(`${field}:`)).map((line) => line.slice(field.length + 1).trimStart());
      const data = all("data").join("\n");
      if (data) yield [all("event")[0], JSON.parse(data)];
    }
  }
}

function cited(citations) {
  const list = element("ol");
  for (const citation of citations) {
    const item = element("li");
    item.value = citation.number;
    const title = element(/^https?:\/\//.test(citation.url ?? "") ? "a" : "span", citation.title);
    if (title.localName === "a") {
      title.href = citation.url;
      title.rel = "noreferrer";
    }
    const place = [citation.path, ...citation.heading_path];
    if (citation.page) place.push(`page ${citation.page}`);
    item.append(title, element("div", place.join(" › "), "place"), element("blockquote", citation.quote));
    list.append(item);
  }
  return list;
}

const KINDS = { extractive: "Quoted from the documents", fallback: "Nothing fitting was found", generated: "Answer" };

async function ask(question) {
  const article = element("article");
  const answer = element("p", "", "answer");
  const fail = (text) => article.append(element("p", text, "failed"));
  article.append(element("h2", question), answer);
  article.setAttribute("aria-busy", "true");
  $("answers").append(article);
  article.scrollIntoView({ block: "nearest" });
  try {
    const response = await request("conversation/chat", {
      method: "POST",
      headers: { "content-type": "application/json", accept: "text/event-stream" },
      body: JSON.stringify({ chatbot: $("chatbot").value, message: question, ...(conversation && { conversation_id: conversation }) }),
    });
    if (!response.ok) return fail(words(await problemOf(response)));
    let complete = false;
    for await (const [name, data] of events(response.body)) {
      if (name === "delta") answer.textContent += data.text;
      if (name === "error") return fail(words(data));
      if (name !== "done") continue;
      complete = true;
      conversation = data.conversation_id;
      answer.textContent = data.answer;
      answer.before(element("h3", KINDS[data.kind]));
      if (data.citations.length > 0) article.append(element("h3", "Sources"), cited(data.citations));
    }
    if (!complete) fail("The answer broke off. Ask again.");
  } catch {
    fail("The server cannot be reached.");
  } finally {
    article.removeAttribute("aria-busy");
  }
}

$("access").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", $("token").value.trim());
  sessionStorage.setItem("tenant", $("tenant").value.trim());
  start();
});

$("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  const question = $("question").value.trim();
  if (!question || $("send").disabled) return;
  $("question").value = "";
  $("send").disabled = true;
  await ask(question);
  $("send").disabled = false;
  $("question").focus();
});

$("question").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("ask").requestSubmit();
});

function anew() {
  conversation = null;
  $("answers").replaceChildren();
  $("question").focus();
}
$("anew").addEventListener("click", anew);
$("chatbot").addEventListener("change", anew);

start().catch(() => askForAccess("The server cannot be reached."));
