# The shape of a Rails app: /up for the health check, https for everything else.
run lambda { |env|
  if env["PATH_INFO"] == "/up"
    [200, { "content-type" => "text/html" }, ["<body style=\"background-color: green\"></body>"]]
  else
    [301, { "location" => "https://#{env["HTTP_HOST"]}#{env["PATH_INFO"]}" }, []]
  end
}
