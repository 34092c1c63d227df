// Where tokens come from: one kind for each org, setting by setting over the defaults.

import Testing

@testable import WorkerSettings

/// An org without any token of its own.
private let bare = minimal.replacing("    tokenFile: acme.token\n", with: "")

private let complete = """
        oauth:
          tokenURL: https://acme.my.salesforce.com/services/oauth2/token
          clientId: KEY
          username: routing@acme.example.com
          keyFiles: [new.key, old.key]

    """

private func oauth(_ text: String, environment: [String: String] = [:]) throws -> Settings.OAuth? {
    guard case .oauth(let oauth) = try load(text, environment: environment).orgs[0].token else { return nil }
    return oauth
}

@Suite struct TokenSettingsTests {
    @Test func ofAnOrg() throws {
        #expect(
            try oauth(bare + complete)
                == Settings.OAuth(
                    tokenURL: "https://acme.my.salesforce.com/services/oauth2/token", clientID: "KEY",
                    username: "routing@acme.example.com", audience: "https://login.salesforce.com",
                    keyFiles: ["new.key", "old.key"]))
    }

    @Test func whatAnOrgLacksItTakesFromTheDefaults() throws {
        let shared = """
            defaults:
              oauth:
                tokenURL: http://localhost:8080/token
                clientId: SHARED
                audience: https://test.salesforce.com
                keyFiles: [shared.key]

            """
        let own = try oauth(bare + "    oauth: {username: u, keyFiles: [own.key]}\n" + shared)
        #expect(
            own
                == Settings.OAuth(
                    tokenURL: "http://localhost:8080/token", clientID: "SHARED", username: "u",
                    audience: "https://test.salesforce.com", keyFiles: ["own.key"]))
        // The defaults alone lack a username; an org with a file of its own does not care.
        #expect(
            problems(bare + shared) == [
                "w.yaml:2:3: orgs.acme.oauth.username: is missing, write username: here or under defaults: oauth:"
            ])
        #expect(try load(minimal + shared).orgs[0].token == .file("acme.token"))
        #expect(try oauth(bare + shared, environment: ["DEFAULTS_OAUTH_USERNAME": "u"])?.username == "u")
    }

    @Test func allOfItByTheEnvironment() throws {
        let environment = [
            "DEFAULTS_OAUTH_TOKEN_URL": "https://a.example.com/token", "DEFAULTS_OAUTH_CLIENT_ID": "K",
            "DEFAULTS_OAUTH_USERNAME": "u", "DEFAULTS_OAUTH_KEY_FILES": "a.key, b.key",
        ]
        #expect(try oauth(bare, environment: environment)?.keyFiles == ["a.key", "b.key"])
    }

    /// Each stands below an org that has no token yet, whose last line is line 4.
    @Test(arguments: [
        Case(
            "    tokenFile: t\n" + complete,
            "6:5: orgs.acme.oauth: and tokenFile are both given, keep one of them"),
        Case(
            "    tokenFile: t\n    tokenEnvironment: T\n" + complete,
            "7:5: orgs.acme.oauth: and tokenFile and tokenEnvironment are all given, keep one of them"),
        Case(
            "defaults:\n  tokenFile: t\n" + complete.replacing("\n    ", with: "\n  ").dropFirst(2),
            "7:3: defaults.oauth: and tokenFile are both given, keep one of them"),
        Case(
            "    oauth: {username: u}",
            "5:5: orgs.acme.oauth.tokenURL: is missing, write tokenURL: here or under defaults: oauth:\n"
                + "w.yaml:5:5: orgs.acme.oauth.clientId: is missing, write clientId: here or under defaults: oauth:\n"
                + "w.yaml:5:5: orgs.acme.oauth.keyFiles: is missing, write keyFiles: here or under defaults: oauth:"),
        Case(
            complete.replacing("[new.key, old.key]", with: "[]"),
            "9:17: orgs.acme.oauth.keyFiles: is an empty list, write at least one path"),
        Case(
            complete.replacing("[new.key, old.key]", with: "[a, b, c, d, e, f, g, h, i]"),
            "9:17: orgs.acme.oauth.keyFiles: names 9 files, write 8 at most"),
        Case(
            complete.replacing("[new.key, old.key]", with: "new.key"),
            "5:5: orgs.acme.oauth.keyFiles: is missing, write keyFiles: here or under defaults: oauth:\n"
                + "w.yaml:9:17: orgs.acme.oauth.keyFiles: must be a list, write [VALUE, VALUE]"),
        Case(
            complete.replacing("https://acme.my", with: "http://acme.my"),
            "6:17: orgs.acme.oauth.tokenURL: 'http://acme.my.salesforce.com/services/oauth2/token' is plain http, which "
                + "would show the token to the network, write https://"),
        Case(
            complete.replacing("/services/oauth2/token", with: "/"),
            "6:17: orgs.acme.oauth.tokenURL: 'https://acme.my.salesforce.com/' has no path, write "
                + "https://MyDomain.my.salesforce.com/services/oauth2/token"),
        Case(
            complete.replacing("/token", with: "/token?a=b"),
            "6:17: orgs.acme.oauth.tokenURL: 'https://acme.my.salesforce.com/services/oauth2/token?a=b' has a query, "
                + "remove it"),
        Case(
            complete.replacing("clientId: KEY", with: "clientId: a secret"),
            "7:17: orgs.acme.oauth.clientId: is no consumer key, write 1 to 512 ASCII characters without spaces"),
        Case(
            complete + "      audience: login.salesforce.com\n",
            "10:17: orgs.acme.oauth.audience: 'login.salesforce.com' is not a URL, write https://HOST"),
        Case(
            complete + "      keyFile: a\n",
            "10:7: orgs.acme.oauth.keyFile: unknown key, did you mean keyFiles?"),
        Case("    bodyFormat: xml\n    tokenFile: t", "5:17: orgs.acme.bodyFormat: 'xml' is not one of the choices"),
    ])
    func saysWhatIsWrong(_ example: Case) {
        let found = problems(bare + example.text + "\n").joined(separator: "\n")
        #expect(found.hasPrefix("w.yaml:" + example.message), "\(found)")
    }

    @Test func noDescriptionShowsTheConsumerKey() throws {
        let settings = try load(bare + complete.replacing("KEY", with: "hush"))
        var dumped = ""
        dump(settings, to: &dumped)
        for text in ["\(settings)", String(reflecting: settings), dumped] { #expect(!text.contains("hush")) }
        #expect(try load(bare + complete).orgs[0].bodyFormat == .json)
        #expect(try load(bare + "    bodyFormat: multipart\n" + complete).orgs[0].bodyFormat == .multipart)
    }
}
