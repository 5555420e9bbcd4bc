-- Superusers are made by the schema's owner alone, who names them by their e-mail.

do $$
begin
    execute format('grant execute on function account_of_email(text) to %I', current_user);
end
$$;
