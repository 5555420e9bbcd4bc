-- A secret that a resource refers to is called `ref/<name>/<key>`, where name and key have up to 63 characters each.
alter table secrets
    drop constraint secrets_name_check,
    add constraint secrets_name_check check (length(name) between 1 and 200);
