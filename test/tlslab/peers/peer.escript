#!/usr/bin/env escript
%% A peer program of the lab (see gopeer.go) that uses Erlang/OTP's ssl. It reports whether there was a certificate, not how many.
main([Role, Address, Cert, Key, CA, Auth, Version, N, _Options]) ->
    [Host, Port] = string:split(Address, ":"),
    {ok, IP} = inet:parse_address(Host),
    {ok, _} = application:ensure_all_started(ssl),
    Own = case Cert of
        "-" -> [];
        _ -> [{certfile, Cert}, {keyfile, Key}]
    end,
    V = case Version of
        "1.2" -> 'tlsv1.2';
        _ -> 'tlsv1.3'
    end,
    Opts = Own ++ [{cacertfile, CA}, {versions, [V]}, {active, false}, {mode, binary}, {log_level, none}],
    case Role of
        "server" -> server(IP, list_to_integer(Port), Auth, V, list_to_integer(N), Opts);
        "client" -> [call(IP, list_to_integer(Port), V, Opts) || _ <- lists:seq(1, list_to_integer(N))]
    end.

tickets('tlsv1.3', How) -> [{session_tickets, How}];
tickets(_, _) -> [].

server(IP, Port, Auth, V, N, Opts) ->
    Ask = case Auth of
        "none" -> [{verify, verify_none}];
        _ -> [{verify, verify_peer}, {fail_if_no_peer_cert, Auth =:= "required"}]
    end,
    {ok, L} = ssl:listen(Port, Opts ++ Ask ++ tickets(V, stateless) ++ [{ip, IP}, {reuseaddr, true}]),
    [serve(L) || _ <- lists:seq(1, N)].

serve(L) ->
    {ok, T} = ssl:transport_accept(L),
    case ssl:handshake(T, 5000) of
        {ok, S} ->
            {ok, [{session_resumption, Resumed}]} = ssl:connection_information(S, [session_resumption]),
            Certs = case ssl:peercert(S) of
                {ok, _} -> 1;
                _ -> 0
            end,
            case ssl:recv(S, 0, 5000) of
                {ok, _} ->
                    ssl:send(S, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nlab-pong"),
                    truth(Certs, Resumed, "");
                {error, Why} ->
                    truth(-1, false, Why)
            end,
            ssl:close(S);
        {error, Why} ->
            truth(-1, false, Why)
    end.

truth(Certs, Resumed, Why) ->
    R = case Resumed of
        true -> 1;
        _ -> 0
    end,
    Text = case Why of
        "" -> "";
        _ -> lists:flatten(string:replace(io_lib:format("~0p", [Why]), "\n", " ", all))
    end,
    io:format("truth certs=~b resumed=~b early=0 error=~ts~n", [Certs, R, Text]).

call(IP, Port, V, Opts) ->
    case ssl:connect(IP, Port, Opts ++ tickets(V, auto) ++ [{verify, verify_peer}, {server_name_indication, "httpbin.lab.test"}], 5000) of
        {ok, S} ->
            ssl:send(S, "GET /ping HTTP/1.1\r\nHost: httpbin.lab.test\r\nConnection: close\r\n\r\n"),
            io:format("client ~0p~n", [ssl:recv(S, 0, 5000)]),
            ssl:close(S);
        Error ->
            io:format("client ~0p~n", [Error])
    end.
