// What the payload must hold before a call is worth making. The rest is Salesforce's to judge, unless the org is strict.

/// The payload's rules: the fields of the Interaction Service API's `route` request.
struct PayloadRules {
    let kind: CommandKind
    let isStrict: Bool

    /// What is wrong, if anything is.
    func problem(in root: JSONValue) -> CommandError? {
        switch kind {
        case .route: routingTypeProblem(root) ?? routingInfoProblem(root) ?? unknownField(in: root, beside: Self.route)
        case .delete: cancelReasonProblem(root) ?? unknownField(in: root, beside: Self.delete)
        }
    }

    // MARK: Fields

    private static let route = ["conversationIdentifier", "routingType", "routingInfo"]
    private static let delete = ["conversationIdentifier", "cancelReason"]
    private static let routingInfo = ["flow", "queueId", "routingAttributes"]
    private static let flow = ["flowId", "queueId"]
    private static let routingTypes = ["Initial", "Transfer", "Conference"]
    private static let cancelReasons = ["Unknown", "Unavailable", "Decline", "Cancel"]

    private func routingTypeProblem(_ root: JSONValue) -> CommandError? {
        guard let value = root["routingType"]?.unlessNull else {
            return CommandError(
                .routingTypeMissing, code: SalesforceCode.parameters,
                "routingType is missing: add \"Initial\", \"Transfer\" or \"Conference\" to the payload")
        }
        guard let text = value.string, !text.isEmpty, text.utf8.count <= 255 else {
            return CommandError(
                .routingTypeMalformed, code: SalesforceCode.parameters,
                "routingType must be a string: \"Initial\", \"Transfer\" or \"Conference\"")
        }
        if isStrict, !Self.routingTypes.contains(text) {
            return CommandError(
                .routingTypeMalformed, code: SalesforceCode.parameters,
                "routingType \(text.quoted) is none of Initial, Transfer and Conference")
        }
        return nil
    }

    private func routingInfoProblem(_ root: JSONValue) -> CommandError? {
        guard let info = root["routingInfo"]?.unlessNull else { return nil }
        guard info.kind == .object else {
            return CommandError(
                .routingInfoMalformed, code: SalesforceCode.parameters,
                "routingInfo must be an object; leave it out to use the channel's own routing setting")
        }
        let flow = info["flow"]?.unlessNull
        let queue = info["queueId"]?.unlessNull
        switch (flow, queue) {
        case (.some, .some):
            return CommandError(
                .flowAndQueue, code: SalesforceCode.flowAndQueue,
                "routingInfo has both flow and queueId: give a flow (with its fallback queue inside) or a queue")
        case (let flow?, nil):
            if let problem = flowProblem(flow) { return problem }
        case (nil, let queue?):
            guard let id = queue.string, !id.isEmpty, !isStrict || SalesforceID.isValid(id, prefix: "00G") else {
                return CommandError(
                    .queueMalformed, code: SalesforceCode.queueID,
                    "routingInfo.queueId must be the id of a queue: 15 or 18 characters starting with 00G")
            }
        case (nil, nil): break
        }
        return attributesProblem(info) ?? unknownField(in: info, named: "routingInfo.", beside: Self.routingInfo)
    }

    private func flowProblem(_ flow: JSONValue) -> CommandError? {
        guard let flowID = flow["flowId"], let queueID = flow["queueId"], flowID.isNonEmptyString,
            queueID.isNonEmptyString
        else {
            return CommandError(
                .flowIncomplete, code: SalesforceCode.flowIncomplete,
                "routingInfo.flow needs both flowId and queueId (the fallback queue), as strings")
        }
        guard isStrict, let flowID = flowID.string, let queueID = queueID.string else { return nil }
        guard SalesforceID.isValid(flowID, prefix: "300") else {
            return CommandError(
                .flowMalformed, code: SalesforceCode.flowIncomplete,
                "routingInfo.flow.flowId must be a FlowDefinitionView id: 15 or 18 characters starting with 300")
        }
        guard SalesforceID.isValid(queueID, prefix: "00G") else {
            return CommandError(
                .queueMalformed, code: SalesforceCode.queueID,
                "routingInfo.flow.queueId must be the id of a queue: 15 or 18 characters starting with 00G")
        }
        return unknownField(in: flow, named: "routingInfo.flow.", beside: Self.flow)
    }

    private func attributesProblem(_ info: JSONValue) -> CommandError? {
        guard isStrict, let attributes = info["routingAttributes"]?.unlessNull else { return nil }
        var isMap = attributes.kind == .object
        attributes.forEachMember { _, value in
            isMap = value.kind == .string
            return isMap
        }
        guard !isMap else { return nil }
        return CommandError(
            .routingAttributesMalformed, code: SalesforceCode.parameters,
            "routingInfo.routingAttributes must be an object whose values are strings")
    }

    private func cancelReasonProblem(_ root: JSONValue) -> CommandError? {
        // The reference writes these in capitals, the OpenAPI description does not.
        guard isStrict, let value = root["cancelReason"]?.unlessNull else { return nil }
        if let text = value.string, Self.cancelReasons.contains(where: text.isSame) { return nil }
        return CommandError(
            .cancelReasonMalformed, code: SalesforceCode.parameters,
            "cancelReason must be one of Unknown, Unavailable, Decline and Cancel")
    }

    private func unknownField(in object: JSONValue, named path: String = "", beside known: [String]) -> CommandError? {
        guard isStrict else { return nil }
        var unknown: String?
        object.forEachMember { name, _ in
            if !known.contains(name) { unknown = name }
            return unknown == nil
        }
        return unknown.map {
            CommandError(
                .fieldUnknown, code: SalesforceCode.parameters,
                "the payload has a field \((path + $0).quoted), which the API does not know; "
                    + "remove it, or set the org's validation to lenient")
        }
    }
}

extension CommandError {
    init(_ reason: InvalidReason, code: Int? = nil, _ message: String) {
        self.init(code: code, message: message, reason: reason.rawValue)
    }
}
