export const title = "Orders";
