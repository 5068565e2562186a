document.getElementById("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const target = new FormData(event.target).get("target");
  const response = await fetch("/api/links", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ target }),
  });
  document.getElementById("output").textContent = (await response.json()).url;
});
