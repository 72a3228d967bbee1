//! The names of files that act by themselves, by what makes them act.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::Sensitive;

/// Names of one kind, in lower case, at any depth; separated by spaces. A folder of a file's name counts with all that
/// is in it, as it does for who looks for the file: `setup.py/__main__.py`, `vite.config.js/index.js`.
struct Rule {
    why: Sensitive,
    /// Everything in folders of these names.
    folders: &'static str,
    files: &'static str,
    /// Names of files, and of nothing else: folders are often called so.
    only_files: &'static str,
    /// How names begin.
    starts: &'static str,
    /// How names end.
    endings: &'static str,
    /// How names end that begin with a dot.
    dotted_endings: &'static str,
}

/// The first that matches counts.
const RULES: [Rule; 8] = [
    Rule {
        why: Sensitive::Git,
        folders: ".hg .jj .sl .svn .bzr",
        files: ".gitattributes .gitmodules .gitconfig .lfsconfig .mailmap .hgrc .hgsub",
        only_files: "",
        starts: "",
        endings: "",
        dotted_endings: "",
    },
    Rule {
        why: Sensitive::Interpreter,
        folders: ".venv venv .tox .nox site-packages dist-packages __pycache__ .ipython sitecustomize usercustomize",
        // `wflo.py` would be imported in the SDK's place.
        files: "pyvenv.cfg sitecustomize.py usercustomize.py wflo.py .python-version .pdbrc .pythonrc",
        only_files: "",
        starts: "",
        endings: ".pth .egg-link .pyc .pyo .pyd .so .dylib .dll",
        dotted_endings: "",
    },
    Rule {
        why: Sensitive::Ci,
        folders: ".github .gitlab .circleci .buildkite .woodpecker .ci .husky .teamcity .forgejo \
                .gitea .mvn .githooks .semaphore",
        files: ".lefthook.yml .lefthook.yaml .lefthook.toml .lefthook.json .lefthook-local.yml .lefthook-local.yaml \
                .lefthook-local.toml .lefthook-local.json lefthook.toml lefthook.json lefthook-local.yml lefthook-local.yaml \
                lefthook-local.toml lefthook-local.json .overcommit.yml captainhook.json prek.toml .gitlint \
                directory.build.rsp gradle-wrapper.jar .travis.yml appveyor.yml azure-pipelines.yml bitbucket-pipelines.yml cloudbuild.yaml \
                jenkinsfile lefthook.yml lefthook.yaml makefile gnumakefile bsdmakefile justfile \
                .justfile taskfile.yml taskfile.yaml build.rs build.zig build.xml pom.xml \
                cmakelists.txt cmakepresets.json meson.build sconstruct wscript gradlew \
                gradle.properties rakefile mix.exs package.swift flake.nix default.nix shell.nix \
                setup.py setup.cfg pyproject.toml conftest.py noxfile.py tox.ini pytest.ini tasks.py \
                fabfile.py dodo.py hatch_build.py gulpfile.js gruntfile.js hatch.toml pylintrc mypy.ini \
                ansible.cfg manage.py magefile.go go.work conanfile.py project.clj stack.yaml setup.hs \
                rebar.config earthfile build.bazel workspace.bazel module.bazel \
                guardfile pulumi.yaml devenv.nix nx.json turbo.json angular.json cargo.toml \
                directory.build.props directory.build.targets gradle-wrapper.properties .bazelrc user.bazelrc \
                .bazelversion .rspec .simplecov .formatter.exs .credo.exs .sqlfluff nodemon.json snakefile \
                terragrunt.hcl helmfile.yaml dvc.yaml phpunit.xml phpunit.xml.dist \
                .appveyor.yml .cirrus.yml .cirrus.star bitrise.yml codemagic.yaml buildspec.yml buildspec.yaml \
                netlify.toml vercel.json cloudbuild.yml azure-pipelines.yaml wercker.yml .scrutinizer.yml amplify.yml \
                render.yaml fly.toml railway.json railway.toml firebase.json wrangler.toml wrangler.json wrangler.jsonc \
                podfile build.sc build.mill babel.config.json jest.config.json .luacheckrc .proverc .pytest.ini \
                pytest.toml .pytest.toml",
        only_files: "build workspace dune buck configure",
        starts: ".gitlab-ci. .drone. .woodpecker. .pre-commit- .eslintrc .mocharc .babelrc .prettierrc \
                 .stylelintrc .pylintrc .flake8 .coveragerc .mypy. .ansible. .lintstagedrc karma.conf. .rubocop .parcelrc .postcssrc .nycrc .c8rc .swcrc .releaserc \
                 .commitlintrc .remarkrc .textlintrc .markdownlint .php-cs-fixer phpstan. .nodemon .golangci.",
        endings: ".mk .cmake .gradle .gradle.kts .sbt .config.js .config.cjs .config.mjs .config.ts \
                .config.mts .config.cts .csproj .fsproj .vbproj .vcxproj .cabal .tf .tf.json .tofu .tofu.json .props .targets .rake .bzl .proj",
        dotted_endings: "rc.js rc.cjs rc.mjs rc.ts rc.cts rc.mts",
    },
    Rule {
        why: Sensitive::Packages,
        folders: ".cargo .bundle .yarn node_modules bower_components",
        files: ".pnp.cjs .pnp.js .pnp.loader.mjs .pnp.data.json package.json .npmrc .pnpmfile.cjs bunfig.toml deno.json deno.jsonc composer.json \
                gemfile pip.conf pipfile pixi.toml pnpm-workspace.yaml uv.toml .condarc nuget.config rust-toolchain rust-toolchain.toml",
        only_files: "",
        starts: ".yarnrc",
        endings: ".gemspec",
        dotted_endings: "",
    },
    Rule {
        why: Sensitive::Container,
        folders: ".devcontainer",
        files: "vagrantfile tiltfile skaffold.yaml procfile",
        only_files: "",
        starts: "dockerfile containerfile docker-compose. compose.y compose.override. docker-bake.",
        endings: ".dockerfile",
        dotted_endings: "",
    },
    Rule {
        why: Sensitive::Editor,
        folders: ".vscode .idea .zed .vim .nvim .fleet .helix .externaltoolbuilders",
        files: ".vimrc _vimrc .gvimrc .nvimrc .exrc _exrc .nvim.lua .lvimrc .dir-locals.el \
                .dir-locals-2.el .kakrc .ycm_extra_conf.py .gdbinit .lldbinit .rprofile startup.jl \
                .irbrc .pryrc .byebugrc .iex.exs .ghci .ocamlinit .octaverc .perldb .erlang \
                .project .luarc.json .luarc.jsonc rust-analyzer.toml .rust-analyzer.toml .renviron",
        only_files: "",
        starts: "",
        endings: ".sublime-project .code-workspace",
        dotted_endings: "",
    },
    Rule {
        why: Sensitive::Agent,
        folders: ".claude .cursor .codex .gemini .continue .windsurf .aider .opencode .roo .kiro .junie .crush .qwen \
                .goose .amazonq .augment .trae .agents",
        files: ".mcp.json mcp.json claude.md claude.local.md agents.md gemini.md .cursorrules \
                .windsurfrules .aider.conf.yml opencode.json opencode.jsonc qwen.md crush.json .crush.json .rules \
                .goosehints .augment-guidelines agents.override.md",
        only_files: "",
        starts: ".clinerules .roorules",
        endings: "",
        dotted_endings: "",
    },
    Rule {
        why: Sensitive::Shell,
        folders: ".mise .config .direnv",
        files: ".profile .login .tool-versions .inputrc .nvmrc .node-version .ruby-version .envrc .rvmrc",
        only_files: "",
        starts: ".bash .zsh .zprofile .zlogin .cshrc .tcshrc .kshrc .mise mise. .rtx",
        endings: ".sh .bash .zsh .fish .ksh .csh .ps1 .psm1 .bat .cmd .desktop",
        dotted_endings: "",
    },
];

/// The rules, ready to be asked; each with its place, since the first that matches counts.
#[derive(Default)]
struct Ready {
    whole: HashMap<&'static [u8], usize>,
    only_files: HashMap<&'static [u8], usize>,
    starts: Vec<(&'static [u8], usize)>,
    endings: Vec<(&'static [u8], usize)>,
    dotted_endings: Vec<(&'static [u8], usize)>,
}

static READY: LazyLock<Ready> = LazyLock::new(|| {
    let mut ready = Ready::default();
    for (place, rule) in RULES.iter().enumerate() {
        let words = |names: &'static str| names.split_whitespace().map(move |name| (name.as_bytes(), place));
        for (name, place) in words(rule.folders).chain(words(rule.files)) {
            ready.whole.entry(name).or_insert(place);
        }
        ready.only_files.extend(words(rule.only_files));
        ready.starts.extend(words(rule.starts));
        ready.endings.extend(words(rule.endings));
        ready.dotted_endings.extend(words(rule.dotted_endings));
    }
    ready
});

/// Why a path with these parts, in lower case, is guarded by its name or by that of a folder that it is in.
pub(super) fn matching(parts: &[Vec<u8>], is_dir: bool) -> Option<Sensitive> {
    let file = if is_dir { parts.len() } else { parts.len().saturating_sub(1) };
    let of_part = |(at, part): (usize, &Vec<u8>)| {
        let whole = READY.whole.get(part.as_slice()).copied();
        let alone = READY.only_files.get(part.as_slice()).filter(|_| at == file).copied();
        // `dockerfiles/` and the like are folders that many projects have.
        let counts = |start: &[u8]| at == file || start.contains(&b'.');
        let starts = READY.starts.iter().filter(|(start, _)| part.starts_with(start) && counts(start));
        let endings = READY.endings.iter().filter(|(ending, _)| part.ends_with(ending));
        let dotted = READY
            .dotted_endings
            .iter()
            .filter(|(ending, _)| part.starts_with(b".") && part.ends_with(ending));
        let others = starts.chain(endings).chain(dotted).map(|(_, place)| *place);
        whole.into_iter().chain(alone).chain(others).min()
    };
    let first = parts.iter().enumerate().filter_map(of_part).min()?;
    RULES.get(first).map(|rule| rule.why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_names_every_name() {
        let page = include_str!("../../../../../../docs/reference/guarded.md");
        for rule in &RULES {
            let shown = |names: &'static str, before: &str, after: &str| {
                let (before, after) = (before.to_owned(), after.to_owned());
                names
                    .split_whitespace()
                    .map(move |name| format!("`{before}{name}{after}`"))
                    .collect::<Vec<_>>()
            };
            let all = [
                shown(rule.folders, "", "/"),
                shown(rule.files, "", ""),
                shown(rule.only_files, "", ""),
                shown(rule.starts, "", "*"),
                shown(rule.endings, "*", ""),
                shown(rule.dotted_endings, ".*", ""),
            ];
            for name in all.concat() {
                assert!(page.contains(&name), "docs/reference/guarded.md lacks {name}");
            }
        }
    }
}
