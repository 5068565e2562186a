import { createTransport } from "nodemailer";

/** Tells somebody how their links fare. */
export async function sendDigest(address, links, transport = createTransport({ sendmail: true })) {
  const lines = links.map((link) => `${link.slug}: ${link.hits} (${link.target})`);
  await transport.sendMail({ to: address, subject: "Your links", text: lines.join("\n") });
}
