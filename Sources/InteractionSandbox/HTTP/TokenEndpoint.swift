// `POST /services/oauth2/token`: the OAuth 2.0 JWT bearer flow.

import Hummingbird
import RoutingContract

struct TokenEndpoint: Sendable {
    /// A JWT is far shorter.
    private static let maximumBodyBytes = 64 * 1024

    let state: StateBox

    func answer(_ request: Request, _ context: SandboxContext) async throws -> Response {
        var request = request
        let body = try await request.collectBody(upTo: Self.maximumBodyBytes)
        let form = FormFields.read(String(buffer: body))
        var (decision, grant) = state.access { $0.decideToken(form: form, now: .now) }
        if let grant { decision.reply = Self.reply(grant, host: request.head.authority ?? "localhost") }
        if let latency = decision.latency { await FaultPlayer.pause(latency) }
        return try await FaultPlayer.play(decision, on: context.channel, request: request)
    }

    private static func reply(_ grant: TokenDesk.Grant, host: String) -> Reply {
        let org = SalesforceID.withSuffix(grant.org.description)
        let user = SalesforceID.make(prefix: SalesforceID.user, number: 1)
        return Reply(status: 200) { json in
            json.field("access_token", grant.token)
            json.field("scope", grant.scope)
            json.field("instance_url", "http://\(host)")
            json.field("id", "https://login.salesforce.com/id/\(org)/\(user)")
            json.field("token_type", "Bearer")
        }
    }
}
