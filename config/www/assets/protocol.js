// Names the protocol that this page came over; browsers know it once the navigation is timed.
const [navigation] = performance.getEntriesByType("navigation");
const names = { "http/1.1": "HTTP/1.1", h2: "HTTP/2", h3: "HTTP/3" };
const name = names[navigation?.nextHopProtocol];
if (name) document.getElementById("protocol").textContent = name;
