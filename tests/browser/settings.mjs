/** What tests do with a room of their own: make it by the page, set it up, decide on people. */
import { write } from "./harness.mjs";

/** Makes a room by the page, so that it is the person's own. */
export async function found(person, room) {
  const { page } = person;
  await page.getByRole("button", { name: "Start a room" }).first().click();
  await page.getByLabel("Name", { exact: true }).fill(room);
  await page.getByRole("button", { name: "Start it" }).click();
  await write(person).waitFor();
  await page.getByRole("button", { name: "Room settings" }).waitFor();
  return person;
}

export const settings = ({ page }) => page.getByRole("dialog", { name: "Room settings" });

/** Opens the settings, makes each choice `[legend, label]`, and saves. */
export async function set(person, ...choices) {
  await person.page.getByRole("button", { name: "Room settings" }).click();
  for (const [legend, label] of choices) {
    const group = settings(person).getByRole("group", { name: legend });
    await group.getByText(label, { exact: true }).click();
  }
  await settings(person).getByRole("button", { name: "Save" }).click();
  await settings(person).waitFor({ state: "hidden" });
}

/** Says yes in the dialog with this title, after `fill(dialog)`. */
export async function decide({ page }, title, yes, fill = () => {}) {
  const dialog = page.getByRole("dialog", { name: title });
  await dialog.waitFor();
  await fill(dialog);
  await dialog.getByRole("button", { name: yes, exact: true }).click();
  await dialog.waitFor({ state: "hidden" });
}

export const forTime = (time) => (dialog) => dialog.getByText(time, { exact: true }).click();
