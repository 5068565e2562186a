import { PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { formatISO } from "date-fns";

/** Puts all links into a bucket, a line of JSON each. */
export async function exportLinks(store, { bucket, prefix }, client = new S3Client({})) {
  const links = await store.list(100000);
  const key = `${prefix}${formatISO(new Date(), { representation: "date" })}.jsonl`;
  const body = links.map((link) => `${JSON.stringify(link)}\n`).join("");
  await client.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: body }));
  return key;
}
